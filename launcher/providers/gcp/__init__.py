"""The provider `gcp`: Confidential VMs of Compute Engine, one for each order of capacity."""
