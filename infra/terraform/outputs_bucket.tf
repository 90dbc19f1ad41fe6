# The bucket of the orders' outputs: in Cloud Storage, or in R2 or another store that speaks S3.
locals {
  s3         = var.outputs.kind == "s3" ? var.outputs : null
  gcs        = var.outputs.kind == "gcs" ? var.outputs : null
  bucket_url = "${local.s3 == null ? "gs" : "s3"}://${local.bucket}"
  # The bucket that is made, so that what uses it comes after it; or the one that exists.
  bucket = try(google_storage_bucket.outputs[0].name, module.outputs_s3[0].bucket, var.outputs.bucket)

  # Those that sign URLs for outputs, read them and delete them. In S3 the bucket's key allows it, and no role.
  of_bucket = local.gcs == null ? toset([]) : toset([for name, service in local.services : name if contains(service.uses, "bucket")])

  # A worker may upload for a week, the longest that a credential lasts; what was begun before is left over.
  abort_after_days = 8
}

resource "google_storage_bucket" "outputs" {
  count = try(local.gcs.create, false) ? 1 : 0

  project                     = var.project_id
  name                        = var.outputs.bucket
  location                    = coalesce(var.outputs.location, var.region)
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  versioning {
    enabled = false
  }

  # What the sweep deletes is to be gone.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }

    condition {
      age = local.abort_after_days
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.outputs.expire_days == null ? [] : [var.outputs.expire_days]

    content {
      action {
        type = "Delete"
      }

      condition {
        age = lifecycle_rule.value
      }
    }
  }

  dynamic "cors" {
    for_each = length(var.outputs.cors_origins) > 0 ? [var.outputs.cors_origins] : []

    content {
      origin          = cors.value
      method          = ["GET", "HEAD"]
      response_header = ["Content-Disposition", "Content-Length", "Content-Range", "Content-Type", "ETag"]
      max_age_seconds = 3600
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_iam_member" "outputs" {
  for_each = local.of_bucket

  bucket = local.bucket
  role   = "roles/storage.objectUser"
  member = google_service_account.function[each.key].member
}

# A function's credentials have no private key: it signs URLs as itself by a request.
resource "google_service_account_iam_member" "signer" {
  for_each = local.of_bucket

  service_account_id = google_service_account.function[each.key].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_service_account.function[each.key].member
}

module "outputs_s3" {
  source = "./modules/outputs_s3"
  count  = try(local.s3.create, false) ? 1 : 0

  bucket           = var.outputs.bucket
  cors_origins     = var.outputs.cors_origins
  expire_days      = var.outputs.expire_days
  abort_after_days = local.abort_after_days
  force_destroy    = !var.deletion_protection
}
