"""ingest: NDJSON events in bulk."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from consumer import config
from consumer.adapters.event_schema import event_schema
from consumer.adapters.ndjson import STANDARD_INPUT, LineReader, RejectedLines, Source, of_the_system, open_source
from consumer.adapters.postgres.operating.bodies import BodyLoader, Taken
from consumer.adapters.postgres.operating.ingest import EventLoader, Figures, Ingestion
from consumer.cli.options import AsJson, DatabaseUrl, Provider, check_account
from consumer.cli.runtime import console
from consumer.cli.tables import json_text
from consumer.domain.errors import ConsumerError, Misconfigured


def ingest(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Events, one JSON object a line; - is standard input.")],
    *,
    provider: Annotated[
        Provider | None,
        typer.Option(help="The lines are bodies of webhooks, as this provider POSTs them, instead of events."),
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="BOT", help="Telegram: the id of the bot that the bodies are for.")
    ] = None,
    rejected: Annotated[
        Path | None,
        typer.Option(
            help="Where rejected lines go, - for standard output; <FILE>.rejected.ndjson unless given. "
            "An older one is replaced."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=100_000, help="Lines per transaction, at most.")] = 2000,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Store events from NDJSON; exit code 1 if some were rejected.

    The fields are named as the columns of webhook_events: channel and event_id are required, type is message unless
    given, event_date is RFC 3339 or absent. An event that is there already gets what the line adds, so a file can be
    ingested again. A rejected line is kept with its number and the reason, as {"line", "reason", "record"}. After the
    records are corrected: jq -r .record FILE.rejected.ndjson | webhook-router ingest -

    With --provider each line is a whole body, and becomes the rows that the gateway would make of it.
    """
    if provider is not None:
        check_account(provider, account)
    elif account is not None:
        raise Misconfigured("--account goes with --provider telegram")
    settings = config.load(database_url=database_url)
    conninfo = settings.database()
    with open_source(file) as source:
        size = _size(source)
        kept = rejected_lines(file, rejected)
        reader = LineReader(source, name=STANDARD_INPUT if file == "-" else file, command=_command(provider, account))
        loader: EventLoader | BodyLoader
        refusal: Callable[[bytes], str | None]
        if provider is None:
            loader, refusal = EventLoader(conninfo), event_schema().refusal
        else:
            loader = BodyLoader(conninfo, provider=provider, account=account, own_app_ids=settings.own_app_ids())
            refusal = _takes_any
        ingestion = Ingestion(reader=reader, refusal=refusal, loader=loader, rejected=kept, batch_size=batch_size)
        started = time.perf_counter()
        try:
            loader.open()
            with _progress(reader, ingestion.figures, size) as progress:
                ingestion.run(progress)
            if isinstance(loader, BodyLoader):
                loader.sweep()
        except (ConsumerError, KeyboardInterrupt) as error:
            if isinstance(error, ConsumerError) and not ingestion.figures.lines:
                raise
            raise ConsumerError(_ended_early(error, ingestion.figures, kept)) from error
        finally:
            loader.close()
            kept.close()
    seconds = time.perf_counter() - started
    if isinstance(loader, BodyLoader):
        _summarise_bodies(ingestion.figures, loader.taken, seconds, kept, as_json=as_json)
        if loader.taken.failed or loader.taken.held_reason:
            raise typer.Exit(1)
    else:
        _summarise(ingestion.figures, seconds, kept, as_json=as_json)
    if ingestion.figures.rejected:
        raise typer.Exit(1)


def _command(provider: str | None, account: str | None) -> str:
    """What reads the same kind of lines from standard input."""
    options = {"--provider": provider, "--account": account}
    return " ".join(["webhook-router ingest", *(f"{name} {value}" for name, value in options.items() if value), "-"])


def _takes_any(line: bytes) -> str | None:
    """Why a line is no body: every line is one, and what is not understood is recorded."""
    del line
    return None


def rejected_lines(source: str, given: Path | None) -> RejectedLines:
    """Where rejected lines go; checked before the start, not after an hour.

    Raises:
        Misconfigured: they cannot go there. Where nothing was given there is always a place.
    """
    if given == Path("-"):
        return RejectedLines(None)
    path = given or Path("rejected.ndjson" if source == "-" else f"{source}.rejected.ndjson")
    if of_the_system(path):
        return RejectedLines(path)
    if source != "-" and path.exists() and path.samefile(source):
        raise Misconfigured(f"rejected lines cannot go to {path}: it is the file that is read")
    if path.is_symlink():
        raise Misconfigured(f"rejected lines cannot go to {path}: it is a link; name another file by --rejected")
    if given is None:
        return RejectedLines(path, elsewhere=True)
    if path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise Misconfigured(f"rejected lines cannot go to {path}: it cannot be written; name another one by --rejected")
    return RejectedLines(path)


def _size(source: Source) -> int | None:
    """Bytes of a regular file; None for a pipe."""
    about = os.fstat(source.fileno())
    return about.st_size if stat.S_ISREG(about.st_mode) else None


@contextmanager
def _progress(reader: LineReader, figures: Figures, size: int | None) -> Iterator[Callable[[], None]]:
    """A bar on standard error where that is a terminal."""
    columns = [BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[figures]}"), TimeRemainingColumn()]
    with Progress(*columns, console=console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=size, figures="")
        started = time.perf_counter()

        def update() -> None:
            rate = figures.lines / max(time.perf_counter() - started, 0.001)
            said = f"{figures.lines:,} lines, {rate:,.0f} a second, {figures.rejected:,} rejected"
            progress.update(task, completed=reader.bytes_read, figures=said)

        yield update


def _ended_early(error: BaseException, figures: Figures, kept: RejectedLines) -> str:
    reason = "stopped" if isinstance(error, KeyboardInterrupt) else str(error)
    rejected = f", {figures.rejected:,} of them rejected (see {kept.name})" if figures.rejected else ""
    return (
        f"{reason}; up to line {figures.last_line:,} the lines are dealt with{rejected}, the rest is not: "
        "run it again, what is stored already does no harm"
    )


def _summarise(figures: Figures, seconds: float, kept: RejectedLines, *, as_json: bool) -> None:
    rate = figures.lines / seconds if seconds else 0.0
    if as_json:
        report = {
            "lines": figures.lines,
            "ingested": figures.inserted,
            "duplicates": figures.duplicates,
            "rejected": figures.rejected,
            "seconds": round(seconds, 3),
            "per_second": round(rate),
            "rejected_file": kept.name if figures.rejected else None,
        }
        typer.echo(json_text(report, indent=False), err=kept.path is None)
        return
    rejected = f"{figures.rejected:,} rejected" + (f" (see {kept.name})" if figures.rejected else "")
    typer.echo(
        f"{figures.lines:,} line{'s' * (figures.lines != 1)}: {figures.inserted:,} ingested, "
        f"{figures.duplicates:,} duplicate{'s' * (figures.duplicates != 1)}, {rejected}; "
        f"{seconds:.1f} s, {rate:,.0f} a second",
        err=kept.path is None,  # standard output is for the rejected lines then
    )


def _summarise_bodies(figures: Figures, taken: Taken, seconds: float, kept: RejectedLines, *, as_json: bool) -> None:
    rate = figures.lines / seconds if seconds else 0.0
    err = kept.path is None  # standard output is for the rejected lines then
    if as_json:
        report = {
            "lines": figures.lines,
            "messages": taken.messages,
            "effects": dict(taken.effects),
            "swept": taken.swept,
            "unknown": taken.unknown,
            "failed": taken.failed,
            "parked": taken.parked,
            "held_reason": taken.held_reason,
            "rejected": figures.rejected,
            "seconds": round(seconds, 3),
            "per_second": round(rate),
            "rejected_file": kept.name if figures.rejected else None,
        }
        typer.echo(json_text(report, indent=False), err=err)
        return
    effects = taken.effects
    typer.echo(
        f"{figures.lines:,} bod{'y' if figures.lines == 1 else 'ies'}: "
        f"{taken.messages:,} message{'s' * (taken.messages != 1)} made, {effects['applied']:,} changes applied, "
        f"{effects['waiting']:,} wait for what they change; {seconds:.1f} s, {rate:,.0f} a second",
        err=err,
    )
    for count, what in (
        (taken.unknown, "not understood, or not whole: webhook-router deliveries list"),
        (taken.failed, "stored, and not in effect yet: webhook-router deliveries list --state waiting"),
        (taken.parked, "messages that are parked: webhook-router parked list"),
        (figures.rejected, f"rejected (see {kept.name})"),
    ):
        if count:
            typer.echo(f"{count:,} {what}", err=True)
    if taken.held_reason:
        typer.echo(f"messages are held for a fault of the schema: {taken.held_reason}", err=True)
