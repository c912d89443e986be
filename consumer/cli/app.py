"""The command line: one module a group of commands, one place that turns errors into lines and exit codes.

Exit codes: 0 done, 1 the check or the work failed, 2 wrong usage or configuration.
"""

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from consumer.cli import operations, produce, service
from consumer.domain.errors import ConsumerError, Misconfigured

app = typer.Typer(
    name="webhook-router",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Routes incoming webhook messages from one Postgres table (or a Kafka topic) into conversations.",
)
service.register(app)
operations.register(app)
produce.register(app)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        typer.echo(f"webhook-router {version('webhook-router')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    show_version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Options of every command."""
    del show_version
    if debug:
        os.environ["WEBHOOK_ROUTER_DEBUG"] = "1"


def main() -> None:
    """Entry point."""
    open_standard_streams()
    try:
        app()
    except (ConsumerError, OSError) as error:  # OSError: the output goes to a disk that is full, mostly
        if os.environ.get("WEBHOOK_ROUTER_DEBUG"):
            raise
        sys.stderr.write(f"webhook-router: {error}\n")
        sys.exit(2 if isinstance(error, Misconfigured) else 1)


def open_standard_streams() -> None:
    """Opens what the caller has closed, on nothing: a socket that got one of these numbers would be written to."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
