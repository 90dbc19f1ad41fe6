# One page that shows how the deployment does: what waits, what is asked and answered, what went wrong.

locals {
  charts = [
    {
      title   = "Oldest queued order"
      unit    = "s"
      queries = { all = "histogram_quantile(0.5, sum by (le) (increase(${local.promql.oldest_queued}_bucket{${local.of_run}}[5m])))" }
    },
    {
      title   = "Sweeps in 5 minutes"
      unit    = "1"
      queries = { all = "sum(increase(${local.promql.oldest_queued}_count{${local.of_run}}[5m]))" }
    },
    {
      title   = "Requests by function and status"
      unit    = "1/s"
      queries = { all = "sum by (service_name, response_code_class) (rate(${local.served}}[5m]))" }
    },
    {
      title   = "Requests by route, the ten most frequent"
      unit    = "1/s"
      queries = { all = "topk(10, sum by (method, route) (rate(${local.promql.requests}_count{${local.of_run}}[5m])))" }
    },
    {
      title   = "Requests that were not answered with 2xx or 3xx, by route"
      unit    = "1/s"
      queries = { all = "topk(10, sum by (method, route, status) (rate(${local.promql.requests}_count{${local.of_run},status=~\"[45]..\"}[5m])))" }
    },
    {
      title   = "Latency by route, 95th percentile (claims and polls wait for up to 30 s)"
      unit    = "ms"
      queries = { all = "topk(10, histogram_quantile(0.95, sum by (le, method, route) (increase(${local.promql.requests}_bucket{${local.of_run}}[5m]))))" }
    },
    {
      title   = "Bells that wait, and dead letters"
      unit    = "1"
      queries = { all = "max by (subscription_id) (pubsub_googleapis_com:subscription_num_undelivered_messages{monitored_resource=\"pubsub_subscription\",subscription_id=~\"${var.name}-.+\"})" }
    },
    {
      title   = "Instances"
      unit    = "1"
      queries = { all = "sum by (service_name, state) (run_googleapis_com:container_instance_count{${local.of_run},service_name=~\"${var.name}-.+\"})" }
    },
    {
      title   = "What the log counts, in 5 minutes"
      unit    = "1"
      queries = { for key in keys(local.counted) : replace(key, "_", " ") => "sum(increase(${local.promql[key]}{${local.of_run}}[5m]))" }
    },
  ]
}

resource "google_monitoring_dashboard" "deployment" {
  count = var.monitoring == null ? 0 : 1

  project = var.project_id
  dashboard_json = jsonencode({
    displayName = var.name
    mosaicLayout = {
      columns = 48
      tiles = [for index, chart in local.charts : merge(
        # The API leaves zeros out of its answers: with them, each plan would show a change.
        index % 2 == 0 ? {} : { xPos = 24 },
        index < 2 ? {} : { yPos = 16 * floor(index / 2) },
        {
          width  = 24
          height = 16
          widget = {
            title = chart.title
            xyChart = {
              dataSets = [for name, query in chart.queries : merge(
                length(chart.queries) == 1 ? {} : { legendTemplate = name },
                { plotType = "LINE", timeSeriesQuery = { prometheusQuery = query, unitOverride = chart.unit } },
              )]
            }
          }
        },
      )]
    }
  })

  depends_on = [google_project_service.api]
}
