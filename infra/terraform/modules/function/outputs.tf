output "name" {
  description = "The function's name."
  value       = google_cloudfunctions2_function.function.name
}

output "service" {
  description = "The name of its Cloud Run service."
  value       = google_cloudfunctions2_function.function.name
}

output "service_account_email" {
  description = "The account that it runs as."
  value       = var.service_account
}

output "uri" {
  description = "The address of its Cloud Run service."
  value       = google_cloudfunctions2_function.function.service_config[0].uri
}
