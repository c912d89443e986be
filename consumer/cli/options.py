"""The option that every command of a database has."""

from typing import Annotated

import typer

from consumer import config

DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", help="libpq URL or DSN; better kept in the environment.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def database(given: str | None) -> str:
    """The database of the command line, or else of the configuration.

    Raises:
        Misconfigured: there is none, or the configuration is wrong.
    """
    settings = config.load(database_url=given)
    return given if given is not None else settings.database()
