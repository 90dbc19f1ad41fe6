# Write-only arguments and ephemeral variables keep secret values out of the state: Terraform 1.11 has both.
terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}

provider "google" {
  project = var.project_id
  region  = var.region

  default_labels = { application = var.name }
}

# R2, or any bucket that speaks S3. Its key comes from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. With a bucket of Google
# Cloud Storage the provider makes nothing and no request, but it refuses to start without a key.
provider "aws" {
  region                      = local.s3 == null ? "auto" : local.s3.region
  access_key                  = local.s3 == null ? "unused" : null
  secret_key                  = local.s3 == null ? "unused" : null
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true

  dynamic "endpoints" {
    for_each = local.s3 == null || try(local.s3.endpoint, null) == null ? [] : [local.s3.endpoint]

    content {
      s3 = endpoints.value
    }
  }
}
