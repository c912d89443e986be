"""Debezium's connector for Postgres in a worker of Kafka Connect, for tests, without containers."""
