"""The page of whoever is on call: what the service does, what it could not do, and what became of an event."""
