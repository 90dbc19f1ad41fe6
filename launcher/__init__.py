"""The launcher daemon: takes orders from the queue and runs their machines."""
