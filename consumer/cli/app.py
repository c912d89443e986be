"""The command line: one module a command, one place that turns errors into lines and exit codes.

Exit codes: 0 done, 1 the check or the work failed, 2 wrong usage or configuration, 130 stopped by Ctrl-C before it was
done.
"""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperGroup

from consumer.cli import interrupt_by_exception
from consumer.cli.starting import Interrupted, open_standard_streams, trust_as_the_system_does
from consumer.domain.errors import ConsumerError, Misconfigured
from consumer.domain.text import one_line

NAME: Final = "webhook-router"
COMMANDS: Final = {
    "demo": ("demo:demo", "Route sample events on a Postgres of its own"),
    "migrate": ("migrate:migrate", "Bring the database to this version"),
    "run": ("run:run", "Route events as they arrive, until told to stop"),
    "reconcile": ("reconcile:reconcile", "Route what is unrouted once, for cron or a CronJob"),
    "status": ("status:status", "Show the backlog, the speed of routing, and connected services"),
    "explain": ("explain:explain", "Explain where an event is, and what to do next"),
    "ingest": ("ingest:ingest", "Store events from NDJSON; exit code 1 if some were rejected"),
    "replay": ("replay:replay", "Read stored deliveries once more, as this version does"),
    "produce": ("produce:produce", "Write events from NDJSON to the Kafka topic"),
    "prune": ("prune:prune", "Delete routed events and payloads that were kept long enough"),
    "erase": ("erase:erase", "Delete what is kept of a person, in all tables"),
    "export": ("export:export", "Print all that is kept of a person, as JSON"),
    "audit": ("audit:audit", "Check that the database has what the router and its callers need"),
    "sql": ("sql:run", "Run SQL scripts as psql -f does, and print every result"),
    "config": ("show_config:show_config", "Print every setting that is in force, secrets masked"),
    "uninstall": ("uninstall:uninstall", "Take out of the database what migrate has added"),
    "parked": ("parked:commands", "List, show, retry and discard events that could not be routed"),
    "deliveries": ("deliveries:commands", "List and show what providers have sent"),
    "kafka": ("kafka:commands", "Show positions of the group, give up unreadable records"),
}
"""By name: where each command is, `module:attribute` in this folder, and its line in the list of commands.

A command is imported when it is called: one that prints a line need not load what the service is made of.
"""
ALIASES: Final = {"dead-letters": "parked"}
"""Names of earlier versions, which help does not list."""


class _Loaded(Mapping[str, Any]):
    """The commands by name, each imported when it is asked for."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __iter__(self) -> Iterator[str]:
        return iter((*COMMANDS, *ALIASES))

    def __len__(self) -> int:
        return len(COMMANDS) + len(ALIASES)

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS or name in ALIASES

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - a command of click
        if name not in self._loaded:
            place, summary = COMMANDS[ALIASES.get(name, name)]
            module, _, attribute = place.partition(":")
            found = getattr(importlib.import_module(f"consumer.cli.{module}"), attribute)
            of_one = typer.Typer(rich_markup_mode=None, add_completion=False)
            of_one.callback()(_nothing)  # with it, typer makes a group of it, even if it holds one command
            if isinstance(found, typer.Typer):
                of_one.add_typer(found, name=name, short_help=summary, hidden=name in ALIASES)
            else:
                of_one.command(name, short_help=summary, hidden=name in ALIASES)(found)
            group: Any = typer.main.get_command(of_one)
            self._loaded[name] = group.commands[name]
        return self._loaded[name]


class _Choice(NamedTuple):
    """A CompletionItem, which one version of typer takes from click, and another brings along."""

    value: str
    help: str
    type: str = "plain"


def _nothing() -> None:
    pass


class _Commands(TyperGroup):
    """Loads commands when they are called, and evens out versions of typer: an interruption is reported to `main`, and
    a wrong choice is told in plain words."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - of typer
        super().__init__(**given)
        self.commands = _Loaded()  # type: ignore[assignment] # nothing is added to it

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - typer's context is of one class or another
        """Their names, without loading them."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - as above
        """The list of help, without loading them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:  # noqa: ANN401 - as above
        """Names of commands for a shell, without loading them; options as ever."""
        if incomplete[:1] == "-":
            return super().shell_complete(ctx, incomplete)
        return [_Choice(name, summary) for name, (_, summary) in COMMANDS.items() if name.startswith(incomplete)]

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
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


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - it takes as long to load as all the rest

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
    # Of a command only: help needs neither.
    from consumer import config  # noqa: PLC0415
    from consumer.adapters.telemetry import log as logs  # noqa: PLC0415

    logs.quiet_drivers()
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
    try:
        app(prog_name=NAME, color=False if os.environ.get("NO_COLOR") else None)
    except Interrupted:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    except (ConsumerError, OSError) as error:  # OSError: the output goes to a disk that is full, mostly
        if os.environ.get("WEBHOOK_ROUTER_DEBUG"):
            raise
        from consumer.adapters.telemetry import log as logs  # noqa: PLC0415

        sys.stderr.write(logs.line_of(f"{NAME}: {one_line(str(error))}") + "\n")
        sys.exit(2 if isinstance(error, Misconfigured) else 1)
