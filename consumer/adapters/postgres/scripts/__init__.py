"""Running SQL scripts without psql."""
