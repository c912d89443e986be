"""Sinks of facts: the log, metrics, systemd."""
