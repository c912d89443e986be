"""All faults by name: how each begins and ends. Importing a module here registers its faults in FAULTS."""

from tests.chaos.faults import (
    application,
    brokers,
    disk,
    failover,
    network,
    replicas,
    schema,
    server,
    sessions,
    statements,
)
from tests.chaos.faults.fault import FAULTS, Fault

__all__ = [
    "FAULTS",
    "Fault",
    "application",
    "brokers",
    "disk",
    "failover",
    "network",
    "replicas",
    "schema",
    "server",
    "sessions",
    "statements",
]
