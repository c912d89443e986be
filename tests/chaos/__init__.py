"""Faults, a ledger that accounts for every event, and the driver that mixes them at random (`make chaos`)."""
