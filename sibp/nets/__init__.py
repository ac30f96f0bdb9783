"""Networks: affine layers joined by bridges, activations, losses, initial laws, and running them forward and back."""
