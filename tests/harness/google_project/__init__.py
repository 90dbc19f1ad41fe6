"""A Google Cloud project, as the APIs with which one looks at it show it: resources, IAM policies, enabled APIs.

No official emulator exists for these. Shapes and paths are those of each API's REST reference,
https://cloud.google.com/apis/docs/overview.
"""
