"""The local stack and the command line, driven as a developer drives them."""
