"""The provider `fly`: short-lived machines of Fly, one for each export or task."""
