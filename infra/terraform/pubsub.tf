# The doorbell: one message for each order that waits, and for each pool that can prove itself a subscription to the orders
# that its launchers can run. A lost bell loses no order, because the sweep rings again until the order is claimed.
locals {
  pubsub_agent = "serviceAccount:service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic" "doorbell" {
  project = var.project_id
  name    = "${var.name}-doorbell"

  depends_on = [google_project_service.api]
}

resource "google_pubsub_topic_iam_member" "doorbell" {
  for_each = toset([for name, service in local.services : name if contains(service.uses, "doorbell")])

  project = var.project_id
  topic   = google_pubsub_topic.doorbell.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.function[each.key].member
}

resource "google_pubsub_subscription" "pool" {
  for_each = local.listening

  project = var.project_id
  name    = "${var.name}-pool-${each.key}"
  topic   = google_pubsub_topic.doorbell.id
  filter  = local.filters[each.key]
  # A launcher answers a bell once its claim was answered, which takes seconds.
  ack_deadline_seconds       = 60
  message_retention_duration = "86400s"
  # Without it, a subscription whose hosts are all off is deleted after 31 days.
  expiration_policy {
    ttl = ""
  }

  # A full host gives a bell back every 5 s, each time a delivery: the wait grows to a minute, so that 100 deliveries take an
  # hour and a half. A dead letter then says that no launcher of the pool had room for so long, or that a bell is malformed.
  retry_policy {
    minimum_backoff = "5s"
    maximum_backoff = "60s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead.id
    max_delivery_attempts = 100
  }
}

resource "google_pubsub_topic" "dead" {
  project = var.project_id
  name    = "${var.name}-doorbell-dead"

  depends_on = [google_project_service.api]
}

# Keeps dead letters for a person to look at: a topic without a subscription drops what it gets.
resource "google_pubsub_subscription" "dead" {
  project                    = var.project_id
  name                       = "${var.name}-doorbell-dead"
  topic                      = google_pubsub_topic.dead.id
  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub itself moves dead letters: without both grants it silently does not.
resource "google_pubsub_topic_iam_member" "dead" {
  project = var.project_id
  topic   = google_pubsub_topic.dead.name
  role    = "roles/pubsub.publisher"
  member  = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "dead" {
  for_each = local.listening

  project      = var.project_id
  subscription = google_pubsub_subscription.pool[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent

  # A new filter makes another subscription of the same name, without this grant.
  lifecycle {
    replace_triggered_by = [google_pubsub_subscription.pool[each.key].filter]
  }
}
