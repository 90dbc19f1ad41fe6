output "address" {
  description = "The load balancer's IP address, for the A record of the gateway's domain; null without a gateway."
  value       = one(google_compute_global_address.gateway[*].address)
}

output "bucket" {
  description = "The bucket of outputs, as LAUNCHYARD_BUCKET has it."
  value       = local.bucket_url
}

output "database" {
  description = "The id of the Firestore database, LAUNCHYARD_DATABASE."
  value       = google_firestore_database.database.name
}

output "functions" {
  description = "By service: the function's name and the address of its Cloud Run service."
  value       = { for service, function in module.function : service => { name = function.name, uri = function.uri } }
}

output "launcher_config" {
  description = "By pool: the settings of its launchers, and their credentials for Google Cloud without a secret, or null if they poll. `launchyard launcher install` takes it."
  value       = local.launcher_config
}

output "service_accounts" {
  description = "By service: the account that its function runs as."
  value       = { for service, function in module.function : service => function.service_account_email }
}

output "url" {
  description = "The control plane's address, LAUNCHYARD_URL."
  value       = local.url
}
