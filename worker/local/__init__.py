"""`launchyard worker`: a worker of the contract of ephemeral workers, on the host of whoever types it.

No machine has these modules.
"""
