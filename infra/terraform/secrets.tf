# The functions' secrets. Their values are write-only: they are in no state and in no plan.
#
# A higher number in var.secret_versions makes a new version. The one before it is left as it is (ABANDON), because instances
# of the last revision, and a rollback, still read it; docs/runbook.md says when to destroy it.
locals {
  # Each pair of a function and a secret that it reads and that exists.
  readers = merge([
    for service, needs in local.services : {
      for name in needs.secrets : "${service} ${name}" => { service = service, secret = name } if contains(keys(var.secret_versions), name)
    }
  ]...)
}

resource "google_secret_manager_secret" "secret" {
  for_each = var.secret_versions

  project             = var.project_id
  secret_id           = "${var.name}-${lower(replace(each.key, "_", "-"))}"
  deletion_protection = var.deletion_protection

  replication {
    auto {}
  }

  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_version" "version" {
  for_each = var.secret_versions

  secret = google_secret_manager_secret.secret[each.key].id
  # The provider wants a value in each plan, and sends it only when it makes a version: Secret Manager refuses an empty one.
  secret_data_wo         = lookup(var.secrets, each.key, "")
  secret_data_wo_version = each.value
  deletion_policy        = "ABANDON"
}

resource "google_secret_manager_secret_iam_member" "function" {
  for_each = local.readers

  project   = var.project_id
  secret_id = google_secret_manager_secret.secret[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.function[each.value.service].member
}
