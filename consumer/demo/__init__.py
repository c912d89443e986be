"""A show of the real thing: an embedded Postgres, sample events, the service."""
