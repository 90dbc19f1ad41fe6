"""One table of checks of what a host needs to run machines: for `launchyard launcher doctor`, and for each launch."""
