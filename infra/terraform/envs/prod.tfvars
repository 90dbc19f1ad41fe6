# A deployment for work: a function for each service behind one domain, outputs in R2, backups, alerts.
project_id         = "launchyard-prod"
project_number     = "210987654321"
region             = "us-central1"
firestore_location = "nam5"

gateway = {
  domain                = "orders.example.com"
  rate_limit_per_minute = 6000
}

outputs = {
  kind         = "s3"
  bucket       = "launchyard-prod-outputs"
  endpoint     = "https://0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com"
  cors_origins = ["https://app.example.com"]
  expire_days  = 90
}

secret_versions = {
  LAUNCHYARD_CALLBACK_SECRET          = 1
  LAUNCHYARD_CALLBACK_SECRET_PREVIOUS = 1 # the one that comes next: docs/runbook.md, “The callback secret”
  LAUNCHYARD_S3_SECRET_ACCESS_KEY     = 1
}

settings = {
  LAUNCHYARD_S3_ACCESS_KEY_ID = "0123456789abcdef0123456789abcdef"
}

backup_days = 28

functions = {
  claim  = { min_instances = 1, max_instances = 20 }
  orders = { min_instances = 1 }
  update = { min_instances = 1 }
}

monitoring = {
  emails = ["operators@example.com"]
}

pools = {
  rack-7 = {
    datacenter = "baremetal:rack-7"
    kinds      = ["capacity"]
    node_sizes = ["tiny", "llm"]
    subject    = "spiffe://example.com/rack-7"
  }
  rack-8 = {
    datacenter = "baremetal:rack-8"
    kinds      = ["capacity", "export", "session", "task"]
    secrets    = true
    labels     = ["gpu"]
    subject    = "spiffe://example.com/rack-8"
  }
  # Hosts without an issuer: docs/runbook.md, “Joining a host”.
  rack-9 = {
    datacenter = "baremetal:rack-9"
    kinds      = ["capacity"]
    public_key = <<-PEM
      -----BEGIN CERTIFICATE-----
      the certificate of the pool's key pair
      -----END CERTIFICATE-----
    PEM
  }
}

workload_identity = {
  issuer_uri = "https://oidc.example.com"
}
