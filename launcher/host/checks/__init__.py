"""What a host must have to run machines: one table of checks, for the operator who asks and for each launch."""
