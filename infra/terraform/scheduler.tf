# Starts the sweep each minute, as an account that may call that function and nothing else.
resource "google_service_account" "scheduler" {
  project      = var.project_id
  account_id   = "${local.accounts}-scheduler"
  display_name = "${var.name}: starts the sweep"

  depends_on = [google_project_service.api]
}

resource "google_cloud_scheduler_job" "sweep" {
  project          = var.project_id
  region           = var.region
  name             = "${var.name}-sweep"
  description      = "Does the work that is due for orders, pools and records"
  schedule         = "* * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "${min(local.chosen["sweep"].timeout_seconds, 1800)}s"

  # Another one follows in a minute. A sweep that takes longer is not started twice.
  retry_config {
    retry_count          = 1
    min_backoff_duration = "5s"
    max_backoff_duration = "10s"
    max_doublings        = 1
  }

  http_target {
    http_method = "POST"
    uri         = "${module.function["sweep"].uri}/v1/sweeps"
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode(jsonencode({}))

    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = module.function["sweep"].uri
    }
  }
}
