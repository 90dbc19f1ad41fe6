"""What a launcher and the guest that it starts agree on."""
