"""Kafka: reading a group's share of topics, writing dead letters, and writing events to a topic."""
