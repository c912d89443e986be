"""Postgres: statements, listening, migrations and a private server."""
