"""An operator's own machines on this host: independent of orders and of the daemon, which never sees their state."""
