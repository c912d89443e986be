"""The command line: one module a command, one place that turns errors into lines and exit codes.

Exit codes: 0 done, 1 the check or the work failed, 2 wrong usage or configuration.
"""

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from consumer.cli import audit, demo, ingest, migrate, parked, produce, reconcile, run, show_config, sql, status
from consumer.cli.runtime import open_standard_streams
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
app.command()(run.run)
app.command()(reconcile.reconcile)
app.command()(demo.demo)
app.command("config")(show_config.show_config)
app.command()(migrate.migrate)
app.command()(audit.audit)
app.command()(ingest.ingest)
app.command("sql")(sql.run)
app.add_typer(parked.commands, name="dead-letters")
app.command()(status.status)
app.command()(produce.produce)


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
