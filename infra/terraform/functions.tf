# The control plane: one function for each service behind a gateway, or one for all of them and one for the sweep. What a
# service reads, uses and serves is in services.json, which is made from the code.
locals {
  table = jsondecode(file("${path.module}/services.json"))

  deployed = var.gateway == null ? ["everything", "sweep"] : [for name in keys(local.table.services) : name if name != "everything"]
  services = { for name in local.deployed : name => local.table.services[name] }

  # The one list of services that anybody may call: their callers have API keys, or secrets of one order. A service of the
  # code that is not in it gets no caller.
  public = toset(["callback", "capacity", "claim", "everything", "exports", "jobs", "orders", "tasks", "update"])

  # Without a gateway, the address is known before the function is made, which needs it.
  url = var.gateway == null ? "https://${var.region}-${var.project_id}.cloudfunctions.net/${var.name}-everything" : "https://${var.gateway.domain}"

  accounts = var.name == "launchyard" ? "ly" : var.name

  # What is made from other variables, and cannot be in var.settings.
  settings_made = toset([
    "GOOGLE_CLOUD_PROJECT",
    "LAUNCHYARD_BACKEND",
    "LAUNCHYARD_BUCKET",
    "LAUNCHYARD_DATABASE",
    "LAUNCHYARD_S3_ENDPOINT",
    "LAUNCHYARD_S3_REGION",
    "LAUNCHYARD_SIGN_AS",
    "LAUNCHYARD_SWEEP_CALLER",
    "LAUNCHYARD_TOPIC",
    "LAUNCHYARD_URL",
    "THREADS",
  ])
  settings = merge(var.settings, {
    GOOGLE_CLOUD_PROJECT    = var.project_id
    LAUNCHYARD_BACKEND      = "google"
    LAUNCHYARD_BUCKET       = local.bucket_url
    LAUNCHYARD_DATABASE     = google_firestore_database.database.name
    LAUNCHYARD_S3_ENDPOINT  = try(local.s3.endpoint, null)
    LAUNCHYARD_S3_REGION    = try(local.s3.region, null)
    LAUNCHYARD_SWEEP_CALLER = google_service_account.scheduler.email
    LAUNCHYARD_TOPIC        = google_pubsub_topic.doorbell.name
    LAUNCHYARD_URL          = local.url
  })

  # A claim, or an agent launcher's poll, holds a thread for up to 30 s, so their services have as many threads as Cloud Run
  # passes requests; 500 of them wait in 175 MiB. A sweep takes 50 s and more, and the next one begins after a minute.
  waiting = { memory = "512Mi", cpu = "1", timeout_seconds = 60, concurrency = 1000, min_instances = 0, max_instances = 10 }
  sizes = {
    callback   = merge(local.waiting, { concurrency = 80 })
    capacity   = merge(local.waiting, { concurrency = 80 })
    claim      = local.waiting
    everything = local.waiting
    exports    = merge(local.waiting, { concurrency = 80 })
    jobs       = local.waiting
    orders     = merge(local.waiting, { concurrency = 80 })
    sweep      = merge(local.waiting, { concurrency = 4, timeout_seconds = 180, max_instances = 2 })
    tasks      = merge(local.waiting, { concurrency = 80 })
    update     = merge(local.waiting, { concurrency = 80 })
  }
  # MiB that Cloud Run gives an instance: https://docs.cloud.google.com/run/docs/configuring/services/memory-limits
  memory_of_cpu = {
    "1" = { least = 128, most = 4096 }
    "2" = { least = 128, most = 8192 }
    "4" = { least = 2048, most = 16384 }
    "6" = { least = 4096, most = 24576 }
    "8" = { least = 4096, most = 32768 }
  }
  chosen = {
    for name in keys(local.services) : name => merge(
      try(local.sizes[name], local.waiting),
      { for size, value in try(var.functions[name], {}) : size => value if value != null },
    )
  }
}

resource "google_service_account" "function" {
  for_each = local.services

  project      = var.project_id
  account_id   = "${local.accounts}-${each.key}"
  display_name = "${var.name}: the function ${each.key}"

  depends_on = [google_project_service.api]
}

module "function" {
  source   = "./modules/function"
  for_each = local.services

  project_id      = var.project_id
  region          = var.region
  name            = "${var.name}-${each.key}"
  entry_point     = each.key
  source_bucket   = google_storage_bucket.source.name
  source_object   = google_storage_bucket_object.bundle.name
  builder         = google_service_account.builder.id
  repository      = google_artifact_registry_repository.images.id
  service_account = google_service_account.function[each.key].email
  size            = local.chosen[each.key]

  # THREADS is read by the framework below every service.
  settings = merge({ THREADS = tostring(local.chosen[each.key].concurrency) }, {
    for name, value in merge(local.settings, {
      LAUNCHYARD_SIGN_AS = var.outputs.kind == "gcs" ? google_service_account.function[each.key].email : null
    }) : name => value if value != null && contains(each.value.settings, name)
  })
  secrets = {
    for name in each.value.secrets : name => {
      id      = google_secret_manager_secret.secret[name].secret_id
      version = google_secret_manager_secret_version.version[name].version
    } if contains(keys(var.secret_versions), name)
  }

  # The scheduler counts as internal traffic; behind a gateway, so does the load balancer.
  ingress = each.key == "sweep" ? "ALLOW_INTERNAL_ONLY" : var.gateway == null ? "ALLOW_ALL" : "ALLOW_INTERNAL_AND_GCLB"
  invokers = merge(
    contains(local.public, each.key) ? { anybody = "allUsers" } : {},
    each.key == "sweep" ? { scheduler = google_service_account.scheduler.member } : {},
  )

  # New code serves once all is there that it needs. Without its secrets, or a builder that may build, it is not even created.
  depends_on = [
    google_artifact_registry_repository_iam_member.builder,
    google_firestore_field.override,
    google_firestore_index.index,
    google_project_iam_member.builder_logs,
    google_project_iam_member.builder_sources,
    google_project_iam_member.firestore,
    google_pubsub_topic_iam_member.doorbell,
    google_secret_manager_secret_iam_member.function,
    google_service_account_iam_member.signer,
    google_storage_bucket_iam_member.builder,
    google_storage_bucket_iam_member.outputs,
  ]
}

# The source, named by its content: another bundle is another object, and the functions are built anew.
resource "google_storage_bucket" "source" {
  project                     = var.project_id
  name                        = "${var.project_id}-${var.name}-source"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  # It holds what `make bundle` makes again from any commit.
  force_destroy = true

  versioning {
    enabled = false
  }

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_object" "bundle" {
  name   = "functions-${filesha256(var.bundle)}.zip"
  bucket = google_storage_bucket.source.name
  source = var.bundle

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_artifact_registry_repository" "images" {
  project       = var.project_id
  location      = var.region
  repository_id = "${var.name}-functions"
  description   = "The images that Cloud Build makes of the functions."
  format        = "DOCKER"

  # Five images of each function, for a rollback. An instance that starts needs its image.
  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"

    most_recent_versions {
      keep_count = 5
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      older_than = "2592000s"
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_service_account" "builder" {
  project      = var.project_id
  account_id   = "${local.accounts}-builder"
  display_name = "${var.name}: builds the functions"

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "builder_logs" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = google_service_account.builder.member
}

# Cloud Functions may copy the source into a bucket of its own before it builds.
resource "google_project_iam_member" "builder_sources" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = google_service_account.builder.member

  condition {
    title      = "${var.name}-sources"
    expression = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-${var.project_number}-${var.region}/\")"
  }
}

resource "google_storage_bucket_iam_member" "builder" {
  bucket = google_storage_bucket.source.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.builder.member
}

resource "google_artifact_registry_repository_iam_member" "builder" {
  project    = var.project_id
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.repository_id
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.builder.member
}

# Some callers' secrets are in their paths: an export's client may send its key as /k/<key>/…, and an image calls back at
# /callback/<order>/<secret>. The functions' own log has no paths; Google's log of requests must not keep these either.
resource "google_logging_project_exclusion" "secret_paths" {
  project     = var.project_id
  name        = "${var.name}-secret-paths"
  description = "Requests whose path holds a key or a callback's secret"
  filter      = "(log_id(\"run.googleapis.com/requests\") OR log_id(\"requests\")) AND httpRequest.requestUrl =~ \"/(k|callback)/\""

  depends_on = [google_project_service.api]
}
