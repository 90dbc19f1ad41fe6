"""Stand-in providers for Terraform: a published schema, and no cloud behind it.

The real Terraform program connects to one and speaks the plugin protocol to it.
"""

from typing import Final

LIMITS: Final = (
    "The stand-in providers know the published schema, and invent what a cloud would answer. They show that the files "
    "are well formed, fit together, apply, settle and are destroyed. They do not show that Google or a bucket's owner "
    "accepts the values, that a permission or a quota suffices, nor that the real provider sees no drift."
)
"""Printed wherever results of the stand-ins are printed."""
