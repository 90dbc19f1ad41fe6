"""What every provider and its machines have in common."""
