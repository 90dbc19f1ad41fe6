"""What a worker can be ordered to do, one module a program."""
