"""Calls that an operator makes: status, audit, parked events, loading in bulk."""
