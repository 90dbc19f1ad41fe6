"""The deployment, checked without a cloud: Terraform's files, and what they say of the code."""
