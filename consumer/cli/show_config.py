"""config: the settings in force."""

from consumer import config
from consumer.cli.tables import show


def show_config() -> None:
    """Print every setting that is in force, secrets masked."""
    show(["setting", "value", "meaning"], config.table(config.load()))
