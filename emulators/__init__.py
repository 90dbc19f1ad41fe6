"""The local stack: everything the control plane needs, on one machine's loopback."""
