"""Orders and their lifecycle. No I/O, no clock, no randomness: times and ids come in as arguments."""
