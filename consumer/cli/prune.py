"""prune: what is old enough goes, for cron."""

import time
from typing import Annotated, Any, Final

import typer

from consumer.adapters.archive.places import archive_at
from consumer.adapters.postgres.operating.archiving import ArchivingPruning
from consumer.adapters.postgres.operating.prune import Pruning
from consumer.adapters.postgres.operating.session import session
from consumer.cli.options import AsJson, with_settings
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text
from consumer.config import Settings
from consumer.domain.errors import Misconfigured
from consumer.domain.retention import Kind, PruneStep, Rule
from consumer.pipeline.retention import Steps, prune_all
from consumer.ports import RetentionStore

EVERY: Final = 10.0
"""Seconds between lines about how far it is."""
PATIENCE: Final = 60.0
"""Seconds to wait for another session that prunes."""


class _Tally:
    """What the steps of one rule add up to."""

    def __init__(self, rule: Rule, *, dry_run: bool) -> None:
        self.rule = rule
        self.dry_run = dry_run
        self.gone = self.bytes = self.refused = 0
        self.reason: str | None = None
        self._told_at = time.monotonic()

    def add(self, step: PruneStep) -> None:
        """One more step; says now and then how far it is, on standard error."""
        self.gone += step.gone
        self.bytes += step.bytes
        self.refused += step.refused
        self.reason = self.reason or step.reason
        if time.monotonic() - self._told_at >= EVERY and step.place is not None:
            self._told_at = time.monotonic()
            typer.echo(f"{self.line()} so far", err=True)

    def line(self) -> str:
        """In words."""
        done = "would be deleted" if self.dry_run else "deleted"
        return f"{self.gone:,} {self.rule.kind} {done}, {_size(self.bytes)}"

    def json(self) -> dict[str, Any]:
        """For a program."""
        return {"gone": self.gone, "bytes": self.bytes, "refused": self.refused, "refused_reason": self.reason}


@with_settings("database_url", "keep_events", "keep_payloads")
def prune(
    settings: Settings,
    *,
    archive: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|s3://…",
            help="Write events into this folder, or bucket and prefix, before they go; ingest reads them back. As the "
            "owner of the tables.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    share: Annotated[
        float, typer.Option(min=0.01, max=1, help="Part of the time that steps may take; between them it rests.")
    ] = 0.5,
    step: Annotated[int, typer.Option(min=1, max=10_000, help="Events that a step looks at, at most.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Delete routed events and payloads that were kept long enough.

    How long says --keep-events and --keep-payloads, or their settings; what neither names is kept. Messages stay, and
    so do events that are parked, dead or not routed. It works in small steps and can be ended and started at any time.
    Exit status 1 when the application keeps some of them, or when another session prunes all the time.
    """
    rules = settings.retention()
    if not rules:
        raise Misconfigured(
            "nothing is to go: say how long events are kept, by --keep-events 90d or WEBHOOK_ROUTER_KEEP_EVENTS, "
            "or their payloads, by --keep-payloads 30d or WEBHOOK_ROUTER_KEEP_PAYLOADS"
        )
    conninfo = settings.database()
    tallies: list[_Tally] = []
    kept_at = archive_at(archive) if archive is not None else None
    if kept_at is not None and not dry_run:
        kept_at.check()

    async def work() -> bool:
        async with session(conninfo, name="prune") as connection:
            store: RetentionStore = Pruning(connection, dry_run=dry_run)
            if kept_at is not None and not dry_run:
                store = ArchivingPruning(connection, kept_at)
            for rule in rules:
                tallies.append(_Tally(rule, dry_run=dry_run))
                steps = Steps(store, rule, most=step)
                if not await prune_all(steps, share=share, told=tallies[-1].add, patience=PATIENCE):
                    return False
            return True

    done = run_async(work())
    _tell(tallies, done=done, dry_run=dry_run, as_json=as_json)
    if not done or any(tally.refused for tally in tallies):
        raise typer.Exit(1)


def _tell(tallies: list[_Tally], *, done: bool, dry_run: bool, as_json: bool) -> None:
    if as_json:
        by_kind: dict[str, object] = {kind.value: None for kind in Kind}
        by_kind |= {tally.rule.kind.value: tally.json() for tally in tallies}
        typer.echo(json_text({**by_kind, "dry_run": dry_run, "busy": not done}, indent=False))
    else:
        for tally in tallies:
            typer.echo(tally.line())
    for tally in tallies:
        if tally.refused:
            typer.echo(f"{tally.refused:,} {tally.rule.kind} are kept by the application: {tally.reason}", err=True)
    if not done:
        typer.echo("another session prunes; what is left is its work, or the next run's", err=True)


def _size(number: float) -> str:
    """Bytes, as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"
        number /= 1000
    raise AssertionError
