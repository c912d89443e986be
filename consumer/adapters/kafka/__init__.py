"""Kafka: reading a group's share of topics, dead letters, and writing events to a topic."""
