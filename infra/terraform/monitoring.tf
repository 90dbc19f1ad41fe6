# Who is told what is wrong. The alerts read the log events that docs/operators.md lists, and Google's own metrics; what to do
# about each alert is in docs/runbook.md, under the alert's name.

locals {
  # The log lines of this deployment's functions.
  logs = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=~\"^${var.name}-(${join("|", keys(local.services))})$\""

  # Counted log lines.
  counted = {
    errors               = "severity>=ERROR AND NOT log_id(\"run.googleapis.com/requests\")" # Cloud Run's own line of a 503 is an error, too
    attestation_refusals = "jsonPayload.event=\"attestation_refused\""
    login_refusals       = "jsonPayload.event=\"login_refused\""
    lost_feeds           = "jsonPayload.event=\"order_feed_lost\""
    bells_not_rung       = "jsonPayload.event=\"bell_not_rung\""
  }

  # Measured log lines: the number that `field` holds, by the values of `labels`.
  measured = {
    oldest_queued = {
      event  = "sweep_done"
      field  = "oldest_queued_seconds"
      unit   = "s"
      labels = []
      # The alert's limit is the bound of a bucket, so that how many sweeps found an older order is exact.
      bounds = [for text in sort(distinct([for bound in concat([60, 300, 900, 1800, 3600, 7200, 21600, 86400], [local.queued_seconds]) : format("%08d", bound)])) : tonumber(text)]
    }
    requests = {
      event  = "request_served"
      field  = "duration_ms"
      unit   = "ms"
      labels = ["method", "route", "status"]
      bounds = [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 40000]
    }
  }

  queued_seconds = 60 * try(var.monitoring.queued_minutes, 15)

  # A metric's name in PromQL: https://docs.cloud.google.com/monitoring/promql/promql-mapping
  metric = { for key in concat(keys(local.counted), keys(local.measured)) : key => "${replace(var.name, "-", "_")}_${key}" }
  promql = { for key, name in local.metric : key => "logging_googleapis_com:user_${name}" }
  of_run = "monitored_resource=\"cloud_run_revision\""
  served = "run_googleapis_com:request_count{${local.of_run},service_name=~\"${var.name}-(${join("|", keys(local.services))})\""

  # An alert fires while its query gives a value. The metrics of log lines have no points before the first such line, nor
  # while there are none.
  alerts = {
    oldest_queued = {
      title    = "Oldest queued order"
      severity = "WARNING"
      query    = "histogram_quantile(0.5, sum by (le) (increase(${local.promql.oldest_queued}_bucket{${local.of_run}}[5m]))) > ${local.queued_seconds}"
      meaning  = "For 5 minutes, sweeps have found an order that has been queued for more than ${local.queued_seconds / 60} minutes. No launcher has room for its lane, or none serves it."
      first    = "Look at what it asks for (`launchyard order list --state queued --json`), then at that pool's launchers: `systemctl status launchyard-launcher` and `launchyard launcher doctor`."
    }
    sweep_not_run = {
      title    = "Sweep not run"
      severity = "CRITICAL"
      query    = "(sum(increase(${local.promql.oldest_queued}_count{${local.of_run}}[5m])) or vector(0)) < 1"
      holds    = "300s" # else the first deployment, whose first sweep is to come, would raise it
      meaning  = "No sweep has ended in 10 minutes, though one begins each minute. Lost machines are not noticed, and lost bells are not rung again."
      first    = "Look at the job ${var.name}-sweep in Cloud Scheduler, and at the log of the function ${var.name}-sweep."
    }
    dead_letters = {
      title    = "Dead letters"
      severity = "WARNING"
      query    = "max by (subscription_id) (pubsub_googleapis_com:subscription_num_undelivered_messages{monitored_resource=\"pubsub_subscription\",subscription_id=\"${var.name}-doorbell-dead\"}) > 0"
      meaning  = "A bell was given back so often that Pub/Sub has put it aside. No order is lost: the sweep rings again."
      first    = "Read it (`gcloud pubsub subscriptions pull ${var.name}-doorbell-dead --limit=10`): it names the order and the lane. Either the pool's launchers were full for long, their keys do not reach the lane, or the message is no bell."
    }
    error_rate = {
      title    = "Error rate"
      severity = "CRITICAL"
      query    = "sum by (service_name) (increase(${local.served},response_code_class=\"5xx\"}[10m])) > 5 and sum by (service_name) (increase(${local.served},response_code_class=\"5xx\"}[10m])) / sum by (service_name) (increase(${local.served}}[10m])) > 0.05"
      meaning  = "In 10 minutes, a function has answered more than 5 requests, and more than 1 in 20, with 5xx."
      first    = "Look at the function's `request_served` lines. If most have the status 503, Firestore does not answer: look at Google Cloud's status. Otherwise a function fails, or none starts: roll back if a new version was just deployed."
    }
    errors = {
      title    = "Errors in the log"
      severity = "WARNING"
      query    = "sum(increase(${local.promql.errors}{${local.of_run}}[5m])) > 0"
      meaning  = "A function, or Cloud Run for it, has written a line of severity ERROR: the control plane has a fault, even if all goes on."
      first    = "Read the line and its stack in the log, and report it."
    }
    attestation_refusals = {
      title    = "Attestation refusals"
      severity = "WARNING"
      query    = "sum(increase(${local.promql.attestation_refusals}{${local.of_run}}[10m])) > 0"
      meaning  = "The proof of a machine was refused: it is not the machine that its order asked for, or its host's firmware or the guest image has changed."
      first    = "Read `why` in the `attestation_refused` lines. If a host or an image was just changed, compare its measurements; otherwise take the host out of service and find out who runs it."
    }
    login_refusals = {
      title    = "Login refusals"
      severity = "WARNING"
      query    = "sum(increase(${local.promql.login_refusals}{${local.of_run}}[10m])) > 10"
      meaning  = "Somebody has sent more than 10 wrong passwords to /admin/login in 10 minutes."
      first    = "If it was none of you, look at where the requests come from, and close the route with LAUNCHYARD_PASSWORD_LOGIN=false."
    }
    lost_feeds = {
      title    = "Order feed lost"
      severity = "WARNING"
      query    = "sum(increase(${local.promql.lost_feeds}{${local.of_run}}[15m])) > 20"
      meaning  = "The streams that report new orders have ended again and again for 15 minutes: launchers that poll wait up to 15 s longer for orders."
      first    = "Read `why` in the `order_feed_lost` lines. If it is `FailedPrecondition`, an index is missing: `launchyard deploy check --region ${var.region}` names it."
    }
    bells_not_rung = {
      title    = "Bells not rung"
      severity = "WARNING"
      query    = "sum(increase(${local.promql.bells_not_rung}{${local.of_run}}[15m])) > 5"
      meaning  = "Pub/Sub has not taken bells for several sweeps: launchers that receive bells get no orders."
      first    = "Look at Pub/Sub's status, and at whether the topic ${var.name}-doorbell exists and the sweep's account may publish to it."
    }
  }
}

resource "google_monitoring_notification_channel" "email" {
  for_each = var.monitoring == null ? toset([]) : var.monitoring.emails

  project      = var.project_id
  display_name = "${var.name}: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }

  depends_on = [google_project_service.api]
}

resource "google_logging_metric" "counted" {
  for_each = { for key, filter in local.counted : key => filter if var.monitoring != null }

  project = var.project_id
  name    = local.metric[each.key]
  filter  = "${local.logs} AND ${each.value}"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }

  depends_on = [google_project_service.api]
}

resource "google_logging_metric" "measured" {
  for_each = { for key, measure in local.measured : key => measure if var.monitoring != null }

  project          = var.project_id
  name             = local.metric[each.key]
  filter           = "${local.logs} AND jsonPayload.event=\"${each.value.event}\""
  value_extractor  = "EXTRACT(jsonPayload.${each.value.field})"
  label_extractors = { for label in each.value.labels : label => "EXTRACT(jsonPayload.${label})" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = each.value.unit

    dynamic "labels" {
      for_each = each.value.labels

      content {
        key        = labels.value
        value_type = "STRING"
      }
    }
  }

  bucket_options {
    explicit_buckets {
      bounds = each.value.bounds
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = { for key, alert in local.alerts : key => alert if var.monitoring != null }

  project               = var.project_id
  display_name          = "${var.name}: ${each.value.title}"
  severity              = each.value.severity
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  conditions {
    display_name = each.value.title

    condition_prometheus_query_language {
      query               = each.value.query
      duration            = lookup(each.value, "holds", "60s")
      evaluation_interval = "60s"
      # A metric that was just made is unknown to Cloud Monitoring for up to 10 minutes.
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.meaning}\n\n**First:** ${each.value.first}\n\nThen follow docs/runbook.md, \"${each.value.title}\"."
  }

  depends_on = [google_logging_metric.counted, google_logging_metric.measured]
}

# Tells when the project's costs come near an amount. It stops nothing. If Terraform acts as a user, the API of budgets wants
# USER_PROJECT_OVERRIDE=true and GOOGLE_BILLING_PROJECT in its environment.
resource "google_billing_budget" "project" {
  count = try(var.monitoring.budget, null) == null ? 0 : 1

  billing_account = var.monitoring.billing_account
  display_name    = var.name

  budget_filter {
    projects = ["projects/${var.project_number}"]
  }

  amount {
    specified_amount {
      currency_code = var.monitoring.currency
      units         = ceil(var.monitoring.budget)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1]

    content {
      threshold_percent = threshold_rules.value
    }
  }

  all_updates_rule {
    monitoring_notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]
  }

  depends_on = [google_project_service.api]

  lifecycle {
    precondition {
      condition     = length(var.monitoring.emails) <= 5
      error_message = "A budget tells 5 addresses at most. Give monitoring.emails the address of a group, or leave the budget out."
    }
  }
}
