# What a pool's launchers need to receive bells: an account that may pull from the pool's own subscription and do nothing else,
# a way to act as it without a downloaded key, and the settings and credentials that `launchyard launcher install` takes.
# Orders are claimed over HTTPS with a launcher's key, which Terraform never sees. Launchers of a pool without subject and
# public_key cannot pull: they poll, and nothing is made for them here, because bells that nobody pulls pile up.

locals {
  # The lanes of agents' sessions by pool: one for each choice of at most three of its labels, none of them included.
  session_lanes = {
    for name, pool in var.pools : name => distinct(concat(["any/session"], [
      for some in setproduct(pool.labels, pool.labels, pool.labels) : "any/session/${join("+", sort(distinct(some)))}"
    ])) if contains(pool.kinds, "session")
  }

  # The lanes that a pool serves one by one. Orders that name an image have no bell in any pool: their launchers poll.
  lanes = {
    for name, pool in var.pools : name => concat(
      contains(pool.kinds, "capacity") ? [for size in pool.node_sizes : "${pool.datacenter}/capacity/${size}"] : [],
      contains(pool.kinds, "export") ? ["any/export"] : [],
      contains(pool.kinds, "task") ? ["any/task"] : [],
      contains(pool.kinds, "task") && pool.secrets ? ["any/task/secrets"] : [],
      lookup(local.session_lanes, name, []),
    )
  }

  # The filters of the subscriptions: they select the bells of a pool's lanes, and no other. Pub/Sub takes 256 bytes, so
  # blanks are left out, and capacity of all sizes is a prefix. A filter cannot be changed: the subscription is replaced.
  filters = {
    for name, pool in var.pools : name => join(" OR ", concat(
      contains(pool.kinds, "capacity") && length(pool.node_sizes) == 0 ? ["hasPrefix(attributes.lane,\"${pool.datacenter}/capacity/\")"] : [],
      [for lane in local.lanes[name] : "attributes.lane=\"${lane}\""],
    ))
  }

  identified = { for name, pool in var.pools : name => pool.subject if pool.subject != null }
  keyed      = { for name, pool in var.pools : name => pool.public_key if pool.public_key != null }

  # The pools whose launchers can prove who they are.
  listening = { for name, pool in var.pools : name => pool if pool.subject != null || pool.public_key != null }

  # https://docs.cloud.google.com/iam/docs/workload-identity-federation#impersonation
  identity_pool = "//iam.googleapis.com/projects/${var.project_number}/locations/global/workloadIdentityPools/${var.name}-hosts"

  launcher_config = {
    for name, pool in var.pools : name => {
      settings = merge(
        {
          LAUNCHYARD_URL        = local.url
          LAUNCHYARD_DATACENTER = pool.datacenter
        },
        contains(keys(local.listening), name) ? { LAUNCHYARD_SUBSCRIPTION = "projects/${var.project_id}/subscriptions/${google_pubsub_subscription.pool[name].name}" } : {},
        # A launcher of one size takes capacity alone.
        pool.kinds == toset(["capacity"]) && length(pool.node_sizes) == 1 ? { LAUNCHYARD_NODE_SIZE = one(pool.node_sizes) } : {},
        contains(pool.kinds, "session") && length(pool.labels) > 0 ? { LAUNCHYARD_LABELS = join(",", pool.labels) } : {},
      )
      credentials = lookup(local.credentials, name, null)
    }
  }

  # Application default credentials without a secret.
  credentials = merge(
    # They say where the host's own token is, and what to change it into.
    {
      for name in keys(local.identified) : name => {
        type                              = "external_account"
        universe_domain                   = "googleapis.com"
        audience                          = "${local.identity_pool}/providers/issuer"
        subject_token_type                = "urn:ietf:params:oauth:token-type:jwt"
        token_url                         = "https://sts.googleapis.com/v1/token"
        service_account_impersonation_url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/${google_service_account.pool[name].email}:generateAccessToken"
        credential_source                 = { file = var.workload_identity.token_file }
      }
    },
    # They lack the private key, which `launchyard launcher install` adds on the host.
    {
      for name, key in google_service_account_key.host : name => {
        type            = "service_account"
        universe_domain = "googleapis.com"
        project_id      = var.project_id
        client_email    = google_service_account.pool[name].email
        private_key_id  = basename(key.name)
        token_uri       = "https://oauth2.googleapis.com/token"
      }
    },
  )
}

resource "google_service_account" "pool" {
  for_each = local.listening

  project      = var.project_id
  account_id   = "${local.accounts}-pool-${each.key}"
  display_name = "${var.name}: launchers of the pool ${each.key}"

  depends_on = [google_project_service.api]

  lifecycle {
    precondition {
      condition     = length(local.filters[each.key]) <= 256
      error_message = "The filter of pools[\"${each.key}\"] has ${length(local.filters[each.key])} bytes, and Pub/Sub takes 256. Give the pool fewer labels, kinds or node_sizes. For the rest make another pool, or let launchers poll: their pool needs neither subject nor public_key."
    }
  }
}

resource "google_pubsub_subscription_iam_member" "pool" {
  for_each = local.listening

  project      = var.project_id
  subscription = google_pubsub_subscription.pool[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.pool[each.key].member

  # A subscription with a new filter is another one under the old name, and nobody may pull from it yet.
  lifecycle {
    replace_triggered_by = [google_pubsub_subscription.pool[each.key].filter]
  }
}

resource "google_iam_workload_identity_pool" "hosts" {
  count = var.workload_identity == null ? 0 : 1

  project                   = var.project_id
  workload_identity_pool_id = "${var.name}-hosts"
  display_name              = "Hosts of ${var.name}"
  description               = "The hosts on which launchers run."

  depends_on = [google_project_service.api]
}

resource "google_iam_workload_identity_pool_provider" "issuer" {
  count = var.workload_identity == null ? 0 : 1

  project                            = var.project_id
  workload_identity_pool_id          = google_iam_workload_identity_pool.hosts[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "issuer"
  attribute_mapping                  = { "google.subject" = "assertion.sub" }
  # The issuer may know others than our hosts. Their tokens are refused here, before any account's policy is asked.
  attribute_condition = "assertion.sub in ${jsonencode(distinct(values(local.identified)))}"

  oidc {
    issuer_uri        = var.workload_identity.issuer_uri
    allowed_audiences = var.workload_identity.audiences
    jwks_json         = var.workload_identity.jwks
  }
}

resource "google_service_account_iam_member" "host" {
  for_each = local.identified

  service_account_id = google_service_account.pool[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principal:${local.identity_pool}/subject/${each.value}"

  depends_on = [google_iam_workload_identity_pool.hosts]
}

# Only for hosts without an issuer. The key pair is made on the host: Google gets the certificate, and nobody the private key.
resource "google_service_account_key" "host" {
  #checkov:skip=CKV2_GCP_3:It is made on demand, and its private key never leaves the host.
  for_each = local.keyed

  service_account_id = google_service_account.pool[each.key].name
  public_key_data    = base64encode(each.value)
}
