"""Fixtures of other folders."""

from tests.e2e.conftest import guest_image as guest_image
