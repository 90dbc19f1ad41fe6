# One host name for all APIs: an HTTPS load balancer that sends each path to the function that serves it.

locals {
  # The services that requests reach from outside, with their paths; the scheduler calls the sweep by its own address.
  routed = var.gateway == null ? {} : { for name, service in local.services : name => service.paths if length(service.paths) > 0 }

  # The first rule that matches decides, so the longest path comes first.
  routes = {
    for route in flatten([for service, paths in local.routed : [for path in paths : { path = path, service = service }]]) :
    format("%04d %s", 9999 - length(trimsuffix(route.path, "*")), route.path) => route
  }

  gateways = var.gateway == null ? 0 : 1
  limits   = try(var.gateway.rate_limit_per_minute, null) == null ? 0 : 1
}

resource "google_compute_global_address" "gateway" {
  count = local.gateways

  project = var.project_id
  name    = "${var.name}-gateway"

  depends_on = [google_project_service.api]
}

# A function of the second generation is a Cloud Run service, and is reached as one.
resource "google_compute_region_network_endpoint_group" "function" {
  for_each = local.routed

  project               = var.project_id
  name                  = "${var.name}-${each.key}"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = module.function[each.key].service
  }
}

# Without timeout_sec: the load balancer waits for a function as long as the function's own timeout lasts.
resource "google_compute_backend_service" "function" {
  for_each = local.routed

  project               = var.project_id
  name                  = "${var.name}-${each.key}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = one(google_compute_security_policy.gateway[*].id)

  backend {
    group = google_compute_region_network_endpoint_group.function[each.key].id
  }

  log_config {
    enable      = true
    sample_rate = 1
  }
}

resource "google_compute_url_map" "gateway" {
  count = local.gateways

  project = var.project_id
  name    = "${var.name}-gateway"
  # Any function answers a path that no API has with 404.
  default_service = google_compute_backend_service.function["orders"].id

  host_rule {
    hosts        = [var.gateway.domain]
    path_matcher = "apis"
  }

  path_matcher {
    name            = "apis"
    default_service = google_compute_backend_service.function["orders"].id

    dynamic "route_rules" {
      for_each = values(local.routes)

      content {
        priority = route_rules.key
        service  = google_compute_backend_service.function[route_rules.value.service].id

        match_rules {
          prefix_match    = endswith(route_rules.value.path, "/*") ? trimsuffix(route_rules.value.path, "*") : null
          full_path_match = endswith(route_rules.value.path, "/*") ? null : route_rules.value.path
        }

        # Programs that can send no header have their key in front of the path: /k/<key>/sessions.
        dynamic "match_rules" {
          for_each = local.services[route_rules.value.service].key_in_path ? [route_rules.value.path] : []

          content {
            path_template_match = "/k/*${replace(match_rules.value, "/\\*$/", "**")}"
          }
        }
      }
    }
  }
}

# A certificate's name belongs to its domain: the new one is made, and takes over, before the old one is deleted.
resource "google_compute_managed_ssl_certificate" "gateway" {
  count = local.gateways

  project = var.project_id
  name    = "${var.name}-${substr(sha256(var.gateway.domain), 0, 8)}"

  managed {
    domains = [var.gateway.domain]
  }

  depends_on = [google_project_service.api]

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_ssl_policy" "gateway" {
  count = local.gateways

  project         = var.project_id
  name            = "${var.name}-gateway"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"

  depends_on = [google_project_service.api]
}

resource "google_compute_target_https_proxy" "gateway" {
  count = local.gateways

  project          = var.project_id
  name             = "${var.name}-gateway"
  url_map          = google_compute_url_map.gateway[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.gateway[0].id]
  ssl_policy       = google_compute_ssl_policy.gateway[0].id
}

resource "google_compute_global_forwarding_rule" "https" {
  count = local.gateways

  project               = var.project_id
  name                  = "${var.name}-https"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.gateway[0].id
  port_range            = "443"
  target                = google_compute_target_https_proxy.gateway[0].id
}

resource "google_compute_url_map" "redirect" {
  count = local.gateways

  project = var.project_id
  name    = "${var.name}-redirect"

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "PERMANENT_REDIRECT"
    strip_query            = false
  }

  depends_on = [google_project_service.api]
}

resource "google_compute_target_http_proxy" "redirect" {
  count = local.gateways

  project = var.project_id
  name    = "${var.name}-redirect"
  url_map = google_compute_url_map.redirect[0].id
}

resource "google_compute_global_forwarding_rule" "http" {
  count = local.gateways

  project               = var.project_id
  name                  = "${var.name}-http"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.gateway[0].id
  port_range            = "80"
  target                = google_compute_target_http_proxy.redirect[0].id
}

# Counts by client address. All launchers of a site may have one: a launcher sends about 3 heartbeats a minute, 2 claims if it
# polls, and a few reports for each order.
resource "google_compute_security_policy" "gateway" {
  #checkov:skip=CKV_GCP_73:The rule of Log4j protects programs in Java; the functions are in Python.
  count = local.limits

  project = var.project_id
  name    = "${var.name}-gateway"

  rule {
    description = "At most ${var.gateway.rate_limit_per_minute} requests a minute from one address."
    priority    = 1000
    action      = "throttle"

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["*"]
      }
    }

    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"

      rate_limit_threshold {
        count        = var.gateway.rate_limit_per_minute
        interval_sec = 60
      }
    }
  }

  rule {
    description = "All others."
    priority    = 2147483647
    action      = "allow"

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  depends_on = [google_project_service.api]
}
