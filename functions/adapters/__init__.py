"""The ports' implementations: in memory, and on Firestore, Pub/Sub, S3/R2 and Google Cloud Storage."""
