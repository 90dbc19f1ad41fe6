"""The launcher daemon: takes orders off the queue and keeps their machines."""
