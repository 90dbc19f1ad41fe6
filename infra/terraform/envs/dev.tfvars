# A deployment to try: one public function for all APIs, outputs in Cloud Storage, and everything can be destroyed.
project_id         = "launchyard-dev"
project_number     = "123456789012"
region             = "us-central1"
firestore_location = "us-central1"

outputs = {
  kind        = "gcs"
  bucket      = "launchyard-dev-outputs"
  expire_days = 8
}

deletion_protection    = false
point_in_time_recovery = false

# Its hosts have no identity, so they poll.
pools = {
  rack-1 = {
    datacenter = "baremetal:rack-1"
    kinds      = ["capacity", "export", "task"]
  }
}
