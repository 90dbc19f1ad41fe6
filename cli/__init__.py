"""The `launchyard` command."""
