# The database of orders, accounts and pools, with the indexes that the code's queries need. ../firestore.indexes.json lists
# these; the code's tests keep it equal to what the queries ask for.
locals {
  index_file = jsondecode(file("${path.module}/../firestore.indexes.json"))

  # By collection and fields, so that a new index in the middle of the file makes none of the others anew.
  indexes = {
    for index in local.index_file.indexes : join(" ", concat([index.collectionGroup], [
      for field in index.fields : "${field.fieldPath}:${lower(try(field.order, field.arrayConfig))}"
    ])) => index
  }
  index_overrides = {
    for field in local.index_file.fieldOverrides : "${field.collectionGroup} ${field.fieldPath}" => field
  }

  # What nobody needs once this time has passed. The sweep deletes it first; Firestore's own deletion, up to a day later, is
  # the second line, for a sweep that does not run. Orders are in no such list: their ends must be settled, not deleted.
  expiring = {
    enrolments            = "expires_at"
    idempotency_keys      = "expires_at"
    operator_session_ends = "until"
    spent_proofs          = "expires_at"
  }
}

resource "google_firestore_database" "database" {
  project                           = var.project_id
  name                              = var.database
  location_id                       = var.firestore_location
  type                              = "FIRESTORE_NATIVE"
  database_edition                  = "STANDARD"
  concurrency_mode                  = "PESSIMISTIC"
  app_engine_integration_mode       = "DISABLED"
  point_in_time_recovery_enablement = var.point_in_time_recovery ? "POINT_IN_TIME_RECOVERY_ENABLED" : "POINT_IN_TIME_RECOVERY_DISABLED"
  delete_protection_state           = var.deletion_protection ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  # The default, ABANDON, would leave the database behind, and the next apply would be refused with 409.
  deletion_policy = "DELETE"

  depends_on = [google_project_service.api]
}

resource "google_firestore_index" "index" {
  for_each = local.indexes

  project     = var.project_id
  database    = google_firestore_database.database.name
  collection  = each.value.collectionGroup
  query_scope = each.value.queryScope

  dynamic "fields" {
    for_each = each.value.fields

    content {
      field_path   = fields.value.fieldPath
      order        = try(fields.value.order, null)
      array_config = try(fields.value.arrayConfig, null)
    }
  }

  # An index that the new code does not need is deleted after the functions were deployed, not before: the old code needs it.
  lifecycle {
    create_before_destroy = true
  }
}

# A field's own indexes, instead of the automatic ones; `*` is each field of the collection that has no override of its own.
resource "google_firestore_field" "override" {
  for_each = local.index_overrides

  project    = var.project_id
  database   = google_firestore_database.database.name
  collection = each.value.collectionGroup
  field      = each.value.fieldPath

  index_config {
    dynamic "indexes" {
      for_each = each.value.indexes

      content {
        query_scope  = indexes.value.queryScope
        order        = try(indexes.value.order, null)
        array_config = try(indexes.value.arrayConfig, null)
      }
    }
  }
}

resource "google_firestore_field" "expiry" {
  for_each = local.expiring

  project    = var.project_id
  database   = google_firestore_database.database.name
  collection = each.key
  field      = each.value

  ttl_config {}
}

resource "google_firestore_backup_schedule" "daily" {
  count = var.backup_days > 0 ? 1 : 0

  project   = var.project_id
  database  = google_firestore_database.database.name
  retention = "${var.backup_days * 24 * 60 * 60}s"

  daily_recurrence {}
}

# The role is the project's, the condition makes it this database's.
resource "google_project_iam_member" "firestore" {
  for_each = toset([for name, service in local.services : name if contains(service.uses, "firestore")])

  project = var.project_id
  role    = "roles/datastore.user"
  member  = google_service_account.function[each.key].member

  condition {
    title      = "${var.name}-database"
    expression = "resource.name == \"projects/${var.project_id}/databases/${google_firestore_database.database.name}\""
  }
}
