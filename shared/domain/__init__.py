"""The words for orders. No I/O, no clock, no randomness."""
