"""The command line: one module a command, one place that turns errors into lines and exit codes.

Exit codes: 0 done, 1 the check or the work failed, 2 wrong usage or configuration, 130 stopped by Ctrl-C before it was
done.
"""

import os
import sys
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from consumer import config
from consumer.adapters.telemetry import log as logs
from consumer.cli import (
    audit,
    deliveries,
    demo,
    explain,
    ingest,
    interrupt_by_exception,
    kafka,
    migrate,
    parked,
    produce,
    reconcile,
    replay,
    run,
    show_config,
    sql,
    status,
    uninstall,
)
from consumer.cli.options import add_command
from consumer.cli.runtime import Interrupted, open_standard_streams, trust_as_the_system_does
from consumer.domain.errors import ConsumerError, Misconfigured
from consumer.domain.text import one_line

NAME: Final = "webhook-router"


class _Commands(TyperGroup):
    """Evens out versions of typer: an interruption is reported to `main`, and a wrong choice is told in plain words."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's context is of one class or another, by its version
        try:
            interrupt_by_exception()
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    name=NAME,
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Routes incoming webhook messages from one Postgres table (or a Kafka topic) into conversations.",
)
add_command(app, "demo", demo.demo)
add_command(app, "migrate", migrate.migrate)
add_command(app, "run", run.run)
add_command(app, "reconcile", reconcile.reconcile)
add_command(app, "status", status.status)
add_command(app, "explain", explain.explain)
app.add_typer(parked.commands, name="parked", short_help=parked.SUMMARY)
app.add_typer(parked.commands, name="dead-letters", hidden=True)  # the name of earlier versions
add_command(app, "ingest", ingest.ingest)
app.add_typer(deliveries.commands, name="deliveries", short_help=deliveries.SUMMARY)
add_command(app, "replay", replay.replay)
add_command(app, "produce", produce.produce)
app.add_typer(kafka.commands, name="kafka", short_help=kafka.SUMMARY)
add_command(app, "audit", audit.audit)
add_command(app, "sql", sql.run)
add_command(app, "config", show_config.show_config)
add_command(app, "uninstall", uninstall.uninstall)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        typer.echo(f"{NAME} {version(NAME)}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""
    del show_version
    if debug:
        os.environ["WEBHOOK_ROUTER_DEBUG"] = "1"
    if context.invoked_subcommand == "run":
        logs.configure(format=config.log_format(), level="info", everything=True)  # until it knows its settings
    for sentence in config.unknown_variables():
        typer.echo(logs.line_of(f"{NAME}: {one_line(sentence)}"), err=True)


def main() -> None:
    """Runs the command that the command line names."""
    open_standard_streams()
    trust_as_the_system_does()
    logs.quiet_drivers()
    try:
        app(prog_name=NAME, color=False if os.environ.get("NO_COLOR") else None)
    except Interrupted:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    except (ConsumerError, OSError) as error:  # OSError: the output goes to a disk that is full, mostly
        if os.environ.get("WEBHOOK_ROUTER_DEBUG"):
            raise
        sys.stderr.write(logs.line_of(f"{NAME}: {one_line(str(error))}") + "\n")
        sys.exit(2 if isinstance(error, Misconfigured) else 1)
