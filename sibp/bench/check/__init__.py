"""What only a device itself can tell: `sibp check`, block by block."""
