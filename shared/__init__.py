"""What every part stands on: the domain, the wire models, the ports and their adapters."""
