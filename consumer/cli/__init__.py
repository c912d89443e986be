"""Commands, signals, exit codes; nothing else."""

from consumer.cli.app import main

__all__ = ["main"]
