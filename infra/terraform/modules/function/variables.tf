variable "builder" {
  description = "The service account that builds the function: its resource name, projects/…/serviceAccounts/…."
  type        = string
}

variable "entry_point" {
  description = "The name in main.py."
  type        = string
}

variable "ingress" {
  description = "The networks from which requests may come."
  type        = string
}

variable "invokers" {
  description = "The members that may call the function, by a name of their own."
  type        = map(string)
}

variable "name" {
  description = "The function's name, and that of its Cloud Run service."
  type        = string
}

variable "project_id" {
  description = "The project's id."
  type        = string
}

variable "region" {
  description = "The function's region."
  type        = string
}

variable "repository" {
  description = "The Artifact Registry repository of its images: projects/…/locations/…/repositories/…."
  type        = string
}

variable "secrets" {
  description = "The secrets that it reads, by the setting's name: the secret's id and the version's number."
  type = map(object({
    id      = string
    version = string
  }))
}

variable "service_account" {
  description = "The e-mail address of the account that it runs as."
  type        = string
}

variable "settings" {
  description = "Its environment."
  type        = map(string)
}

variable "size" {
  description = "What an instance has, and how many there may be."
  type = object({
    memory          = string
    cpu             = string
    timeout_seconds = number
    concurrency     = number
    min_instances   = number
    max_instances   = number
  })
}

variable "source_bucket" {
  description = "The bucket of the source."
  type        = string
}

variable "source_object" {
  description = "The zip with main.py at its root."
  type        = string
}
