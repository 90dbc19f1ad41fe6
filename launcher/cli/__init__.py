"""The commands `launchyard launcher` and `launchyard vm`."""
