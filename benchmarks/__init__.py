"""Measures the router beside what users would pick instead: `python -m benchmarks --quick`, `--full`, `--profile`."""
