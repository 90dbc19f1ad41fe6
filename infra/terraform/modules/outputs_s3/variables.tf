variable "abort_after_days" {
  description = "After how many days an upload in parts that was not completed is removed."
  type        = number
  default     = 8
}

variable "bucket" {
  description = "The bucket's name."
  type        = string
}

variable "cors_origins" {
  description = "The origins whose pages may read outputs."
  type        = set(string)
  default     = []
}

variable "expire_days" {
  description = "After how many days an object is deleted that the sweep has not deleted; null: never."
  type        = number
  default     = null
}

variable "force_destroy" {
  description = "Whether `destroy` deletes the bucket with what is in it."
  type        = bool
  default     = false
}
