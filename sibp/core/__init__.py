"""What every package may use: seeds, precision, messages, paths. Imports nothing of sibp."""
