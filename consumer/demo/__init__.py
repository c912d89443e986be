"""The demonstration: an embedded Postgres, sample events, the service."""
