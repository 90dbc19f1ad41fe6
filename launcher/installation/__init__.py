"""Installs the launcher on a host: its systemd units, its settings and its Google credentials."""
