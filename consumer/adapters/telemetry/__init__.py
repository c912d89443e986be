"""Sinks of facts: the log, metrics, traces, systemd."""
