"""Tests of the Kafka source, against a real Apache Kafka."""
