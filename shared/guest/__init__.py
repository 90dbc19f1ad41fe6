"""The contract between a launcher and the guests that it starts."""
