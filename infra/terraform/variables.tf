variable "backup_days" {
  description = "How many days each daily backup of the database is kept, from 1 to 98; 0 makes no backups."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = floor(var.backup_days) == var.backup_days && var.backup_days >= 0 && var.backup_days <= 98
    error_message = "backup_days must be a whole number from 0 to 98: Firestore keeps a daily backup for 14 weeks at most."
  }
}

variable "bundle" {
  description = "The path of the functions' source, the zip that `make bundle` builds."
  type        = string
  default     = "../../dist/launchyard-functions.zip"
  nullable    = false

  validation {
    condition     = endswith(var.bundle, ".zip") && fileexists(var.bundle)
    error_message = "bundle must name the zip with the functions' source: run `make bundle` first."
  }
}

variable "database" {
  description = "The id of the Firestore database."
  type        = string
  default     = "launchyard"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.database))
    error_message = "database must have 4 to 63 characters: lower-case letters, digits and dashes, a letter first, no dash last."
  }
}

variable "deletion_protection" {
  description = "Whether `terraform destroy` is refused for what holds data: the database, the outputs, the secrets. Set it to false and apply, then destroy."
  type        = bool
  default     = true
  nullable    = false
}

variable "firestore_location" {
  description = "The database's location, a region or a multi-region such as nam5 or eur3. It can never be changed."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^(nam[0-9]+|eur[0-9]+|[a-z]+-[a-z]+[0-9]+)$", var.firestore_location))
    error_message = "firestore_location must be a region such as us-central1, or nam5, nam7 or eur3."
  }
}

variable "functions" {
  description = "By service, what differs from the defaults of functions.tf: memory (\"512Mi\"), cpu (\"1\"), timeout_seconds, concurrency (which is the number of threads, too), min_instances, max_instances."
  type = map(object({
    memory          = optional(string)
    cpu             = optional(string)
    timeout_seconds = optional(number)
    concurrency     = optional(number)
    min_instances   = optional(number)
    max_instances   = optional(number)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = length(setsubtract(keys(var.functions), keys(local.table.services))) == 0
    error_message = "functions names a service that does not exist: ${join(", ", setsubtract(keys(var.functions), keys(local.table.services)))}. services.json lists them."
  }

  validation {
    condition     = alltrue([for one in var.functions : one.memory == null || can(regex("^[0-9]+(Mi|Gi)$", one.memory))])
    error_message = "The memory in functions must be like 512Mi or 1Gi."
  }

  validation {
    condition     = alltrue([for one in var.functions : try(one.concurrency >= 1 && one.concurrency <= 1000, one.concurrency == null)])
    error_message = "The concurrency in functions must be from 1 to 1000, Cloud Run's limit."
  }

  validation {
    condition     = alltrue([for one in var.functions : try(tonumber(one.cpu) >= 1, one.cpu == null) || try(one.concurrency == 1, false)])
    error_message = "The cpu in functions must be at least 1 unless the concurrency is 1: Cloud Run serves one request at a time with less."
  }

  validation {
    condition     = alltrue([for one in var.functions : try(one.timeout_seconds >= 60 && one.timeout_seconds <= 3600, one.timeout_seconds == null)])
    error_message = "The timeout_seconds in functions must be from 60 to 3600: a sweep takes 50 s, and a claim waits for 30 s."
  }

  validation {
    condition = alltrue([
      for name, one in var.functions :
      coalesce(one.min_instances, 0) <= coalesce(one.max_instances, try(local.sizes[name], local.waiting).max_instances)
    ])
    error_message = "The min_instances in functions must not exceed max_instances, of which functions.tf has the defaults."
  }

  validation {
    condition = alltrue([
      for one in var.functions : try(tonumber(one.cpu) < 1, false) || try(
        (endswith(coalesce(one.memory, "512Mi"), "Gi") ? 1024 : 1) * tonumber(regex("^[0-9]+", coalesce(one.memory, "512Mi"))) >= local.memory_of_cpu[coalesce(one.cpu, "1")].least
        && (endswith(coalesce(one.memory, "512Mi"), "Gi") ? 1024 : 1) * tonumber(regex("^[0-9]+", coalesce(one.memory, "512Mi"))) <= local.memory_of_cpu[coalesce(one.cpu, "1")].most,
        false,
      )
    ])
    error_message = "The cpu and memory in functions do not go together: Cloud Run has 1 cpu with up to 4Gi, 2 with up to 8Gi, 4 with 2Gi to 16Gi, 6 with 4Gi to 24Gi, 8 with 4Gi to 32Gi."
  }
}

variable "gateway" {
  description = "An HTTPS load balancer that serves all APIs at one domain; null: one public function serves them at its own address. rate_limit_per_minute is the number of requests that one address may send."
  type = object({
    domain                = string
    rate_limit_per_minute = optional(number)
  })
  default = null

  validation {
    condition     = var.gateway == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.gateway.domain))
    error_message = "The domain in gateway must be a host name in lower case, such as orders.example.com, without https:// and without a path."
  }

  validation {
    condition     = try(var.gateway.rate_limit_per_minute, null) == null || try(var.gateway.rate_limit_per_minute >= 1, false)
    error_message = "The rate_limit_per_minute in gateway must be at least 1; leave it out for no limit."
  }
}

variable "monitoring" {
  description = "Alerts, by e-mail, and a dashboard; null makes none. budget is an amount of the billing account's currency a month, of which the account's id must be given."
  type = object({
    emails          = set(string)
    billing_account = optional(string)
    budget          = optional(number)
    currency        = optional(string, "USD")
    queued_minutes  = optional(number, 15)
  })
  default = null

  validation {
    condition     = var.monitoring == null || try(alltrue([for email in var.monitoring.emails : can(regex("^[^@\\s]+@[^@\\s]+$", email))]), false)
    error_message = "The emails in monitoring must be e-mail addresses."
  }

  validation {
    condition     = try(var.monitoring.budget, null) == null || try(var.monitoring.budget > 0 && var.monitoring.billing_account != null, false)
    error_message = "A budget in monitoring must be above 0, and needs the billing_account, such as 012345-6789AB-CDEF01."
  }
}

variable "name" {
  description = "The first part of all names, so that several deployments may share a project; each needs a database and an outputs bucket of its own, too. It is that of the service accounts, too, which are ly-<service> with the default."
  type        = string
  default     = "launchyard"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,17}[a-z0-9]$", var.name)) && !can(regex("^(goog|gcp-)", var.name))
    error_message = "name must have 3 to 19 characters: lower-case letters, digits and dashes, a letter first, no dash last; and not begin with goog or gcp-, which Google keeps for itself."
  }
}

variable "outputs" {
  description = "The bucket of the orders' outputs. kind is gcs, or s3 for R2 and whatever speaks S3; location is gcs's; endpoint and region are s3's. With create = false the bucket exists already, and is left as it is. cors_origins may read outputs in a browser. expire_days deletes each object that the sweep has not."
  type = object({
    kind         = string
    bucket       = string
    location     = optional(string)
    endpoint     = optional(string)
    region       = optional(string, "auto")
    create       = optional(bool, true)
    cors_origins = optional(set(string), [])
    expire_days  = optional(number)
  })
  nullable = false

  validation {
    condition     = contains(["gcs", "s3"], var.outputs.kind)
    error_message = "The kind in outputs must be gcs or s3."
  }

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", var.outputs.bucket))
    error_message = "The bucket in outputs must be a bucket's name alone, without s3:// or gs://: 3 to 63 lower-case letters, digits, dots, dashes."
  }

  validation {
    condition     = var.outputs.endpoint == null || (var.outputs.kind == "s3" && can(regex("^(https://|http://(127\\.0\\.0\\.1|localhost)[:/]?)[^/\\s]*$", var.outputs.endpoint)))
    error_message = "The endpoint in outputs must be like https://ACCOUNT.r2.cloudflarestorage.com, without a path, and only with the kind s3."
  }

  validation {
    condition     = alltrue([for origin in var.outputs.cors_origins : origin == "*" || can(regex("^https?://[^/\\s]+$", origin))])
    error_message = "The cors_origins in outputs must be origins such as https://app.example.com, without a path."
  }

  validation {
    condition     = var.outputs.expire_days == null || try(var.outputs.expire_days >= 1 && floor(var.outputs.expire_days) == var.outputs.expire_days, false)
    error_message = "The expire_days in outputs must be a whole number of days from 1 on; leave it out, and only the sweep deletes."
  }
}

variable "point_in_time_recovery" {
  description = "Whether the database can be restored to any minute of the last 7 days."
  type        = bool
  default     = true
  nullable    = false
}

variable "pools" {
  description = "The pools of launchers by name. A pool's launchers receive the bells of its datacenter and of the kinds of orders that it takes: capacity (of node_sizes, or of all), export, task, session. secrets is for pools that may have your secrets; labels are those of sessions. subject is the hosts' identity at the issuer of workload_identity; public_key is the certificate (PEM) of a key pair that is made on the host. With neither of the two, its launchers poll over HTTPS."
  type = map(object({
    datacenter = string
    kinds      = set(string)
    node_sizes = optional(set(string), [])
    secrets    = optional(bool, false)
    labels     = optional(list(string), [])
    subject    = optional(string)
    public_key = optional(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for pool in keys(var.pools) : can(regex("^[a-z][a-z0-9-]*[a-z0-9]$", pool))])
    error_message = "The names in pools must have lower-case letters, digits and dashes, a letter first, no dash last."
  }

  validation {
    condition     = alltrue([for pool in keys(var.pools) : length("${local.accounts}-pool-${pool}") <= 30])
    error_message = "The names in pools are too long: with ${local.accounts}-pool- in front, they may have 30 characters, an account id's limit."
  }

  validation {
    condition     = alltrue([for pool in var.pools : can(regex("^[a-z0-9][a-z0-9_-]{0,31}:[a-z0-9][a-z0-9._-]{0,95}$", pool.datacenter))])
    error_message = "The datacenter in pools must be <cloud>:<zone>, such as baremetal:rack-7."
  }

  validation {
    condition     = alltrue([for pool in var.pools : length(pool.kinds) > 0 && length(setsubtract(pool.kinds, ["capacity", "export", "task", "session"])) == 0])
    error_message = "The kinds in pools must be some of capacity, export, task and session."
  }

  validation {
    condition     = alltrue([for pool in var.pools : length(setsubtract(pool.node_sizes, ["tiny", "standard", "llm"])) == 0])
    error_message = "The node_sizes in pools must be some of tiny, standard and llm; leave them out for all."
  }

  validation {
    condition     = alltrue([for pool in var.pools : length(pool.labels) <= 8])
    error_message = "The labels in pools must be 8 at most, which is what a launcher may offer."
  }

  validation {
    condition     = alltrue(flatten([for pool in var.pools : [for label in pool.labels : can(regex("^[a-z0-9][a-z0-9._=:-]{0,47}$", label))]]))
    error_message = "The labels in pools must be like gpu or os=linux: lower-case letters, digits and ._=:- with a letter or digit first, 48 characters at most."
  }

  validation {
    condition     = alltrue([for pool in var.pools : pool.subject == null || var.workload_identity != null])
    error_message = "A subject in pools needs workload_identity, which says who issues it."
  }

  validation {
    condition     = alltrue([for pool in var.pools : pool.public_key == null || can(regex("^-----BEGIN CERTIFICATE-----\\s", pool.public_key))])
    error_message = "The public_key in pools must be a certificate in PEM. The private key stays on the host."
  }

  validation {
    condition     = alltrue([for pool in var.pools : pool.subject == null || pool.public_key == null])
    error_message = "A pool in pools may have subject or public_key, not both: make another pool for the hosts with a key pair."
  }
}

variable "project_id" {
  description = "The id of the Google Cloud project, such as launchyard-prod."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id, not its name or number: 6 to 30 lower-case letters, digits and dashes."
  }
}

variable "project_number" {
  description = "The project's number, which the names of Google's own service agents contain: `gcloud projects describe PROJECT --format='value(projectNumber)'`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]{6,19}$", var.project_number))
    error_message = "project_number must be the project's number, such as 123456789012."
  }
}

variable "region" {
  description = "The region of the functions, the scheduler and the source, such as us-central1."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a region such as us-central1, not a zone."
  }
}

variable "secrets" {
  description = "The secrets' values by the setting's name. They are in no plan and in no state, and are needed only when a number of secret_versions is new: put them into TF_VAR_secrets as JSON."
  type        = map(string)
  default     = {}
  nullable    = false
  sensitive   = true
  ephemeral   = true

  validation {
    condition     = length(setsubtract(keys(var.secrets), keys(var.secret_versions))) == 0
    error_message = "secrets has a value for a setting that secret_versions does not name."
  }

  validation {
    condition     = alltrue([for value in values(var.secrets) : length(value) > 0 && value == trimspace(value)])
    error_message = "A value in secrets is empty, or begins or ends with a blank or a line break."
  }

  validation {
    condition     = length(lookup(var.secrets, "LAUNCHYARD_CALLBACK_SECRET", join("", range(32)))) >= 32
    error_message = "LAUNCHYARD_CALLBACK_SECRET in secrets must have at least 32 characters, such as those of `openssl rand -hex 32`."
  }
}

variable "secret_versions" {
  description = "Which secrets exist, by the setting's name, and the number of each one's value: raise it, with the new value in secrets, and the functions get a new version."
  type        = map(number)
  default     = { LAUNCHYARD_CALLBACK_SECRET = 1 }
  nullable    = false

  validation {
    condition = alltrue([
      for name in keys(var.secret_versions) : try(local.table.settings[name].secret, false)
    ])
    error_message = "secret_versions may name only the secret settings of services.json: ${join(", ", [for name, setting in local.table.settings : name if setting.secret])}."
  }

  validation {
    condition     = contains(keys(var.secret_versions), "LAUNCHYARD_CALLBACK_SECRET")
    error_message = "secret_versions must name LAUNCHYARD_CALLBACK_SECRET, without which most functions do not start."
  }

  validation {
    condition     = var.outputs.kind != "s3" || contains(keys(var.secret_versions), "LAUNCHYARD_S3_SECRET_ACCESS_KEY")
    error_message = "secret_versions must name LAUNCHYARD_S3_SECRET_ACCESS_KEY, because outputs are in a bucket of the kind s3."
  }

  validation {
    condition     = alltrue([for number in values(var.secret_versions) : number >= 1 && floor(number) == number])
    error_message = "The numbers in secret_versions must be whole, from 1 on."
  }
}

variable "settings" {
  description = "Further settings of the functions, by name. Each function gets those that it reads."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.settings), concat(keys(local.table.settings), tolist(local.settings_made)))) == 0
    error_message = "settings has a name that no function reads: ${join(", ", setsubtract(keys(var.settings), concat(keys(local.table.settings), tolist(local.settings_made))))}. services.json lists them."
  }

  validation {
    condition     = alltrue([for name in keys(var.settings) : !try(local.table.settings[name].secret, false)])
    error_message = "settings has a secret: ${join(", ", [for name in keys(var.settings) : name if try(local.table.settings[name].secret, false)])}. Put its value into secrets, and its number into secret_versions."
  }

  validation {
    condition     = length(setintersection(keys(var.settings), local.settings_made)) == 0
    error_message = "settings has a name that is set already: ${join(", ", setintersection(keys(var.settings), local.settings_made))}. Change the variable that it is made from."
  }

  validation {
    condition     = var.outputs.kind != "s3" || can(var.settings["LAUNCHYARD_S3_ACCESS_KEY_ID"])
    error_message = "settings must have LAUNCHYARD_S3_ACCESS_KEY_ID, because outputs are in a bucket of the kind s3."
  }
}

variable "workload_identity" {
  description = "Who issues the identities of the launchers' hosts, for launchers without keys: an OIDC issuer. token_file is the path, on the hosts, of the token that the issuer's agent keeps fresh. null: no identities."
  type = object({
    issuer_uri = string
    audiences  = optional(list(string), [])
    token_file = optional(string, "/run/launchyard/identity-token")
    jwks       = optional(string)
  })
  default = null

  validation {
    condition     = var.workload_identity == null || can(regex("^https://[^\\s]+$", var.workload_identity.issuer_uri))
    error_message = "The issuer_uri in workload_identity must be an https:// address."
  }
}
