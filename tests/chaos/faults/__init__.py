"""Every fault by its name: how it is made, and how it ends. Importing a module here enters its faults into FAULTS."""

from tests.chaos.faults import brokers, disk, network, replicas, schema, server, sessions, statements
from tests.chaos.faults.fault import FAULTS, Fault

__all__ = ["FAULTS", "Fault", "brokers", "disk", "network", "replicas", "schema", "server", "sessions", "statements"]
