"""The models of the native wire (`/v1`), one module an audience."""
