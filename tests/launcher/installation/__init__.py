"""The launcher's installation, into a root of the test's own, with a systemctl that only notes what it was asked."""
