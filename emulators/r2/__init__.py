"""What Cloudflare R2 refuses and moto accepts: signatures, bodies, parts of unequal sizes, scoped credentials."""
