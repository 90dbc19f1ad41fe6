"""The use cases of the control plane: no HTTP, no wire models."""
