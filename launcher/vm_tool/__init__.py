"""An operator's own machines on this host. They are independent of orders, and daemons ignore them."""
