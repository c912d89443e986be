"""A private Postgres server for the demo, tests and benchmarks; it imports nothing else of this package."""
