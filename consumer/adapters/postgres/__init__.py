"""Postgres: sessions, routing calls and the listener; migrations, scripts and the calls of an operator in folders."""
