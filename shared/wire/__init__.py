"""Messages between the deployables."""
