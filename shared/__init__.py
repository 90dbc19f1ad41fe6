"""What at least two deployables import: the domain's words, the wire models, the guest's contract, the client."""
