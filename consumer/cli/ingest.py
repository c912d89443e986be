"""ingest: NDJSON events in bulk."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from consumer import config
from consumer.adapters.archive.members import Unpacking
from consumer.adapters.archive.places import Input, inputs_of, size_of
from consumer.adapters.event_schema import event_schema
from consumer.adapters.ndjson import ARCHIVED, LineReader, RejectedLines, of_the_system
from consumer.adapters.postgres.operating.bodies import BodyLoader, Taken
from consumer.adapters.postgres.operating.ingest import EventLoader, Figures, Ingestion
from consumer.cli.options import AsJson, DatabaseUrl, Provider, check_account
from consumer.cli.runtime import console
from consumer.cli.tables import json_text
from consumer.domain.errors import ConsumerError, Misconfigured


def ingest(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|DIR|s3://…|-",
            help="Events, one JSON object a line, packed by gzip or not; - is standard input. A folder or a place in a "
            "bucket: an archive of prune, all of its files.",
        ),
    ],
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

    What prune --archive wrote comes back with all of its columns, by the role that owns the tables, and is routed anew:
    where the message of an event is there it is only marked. An event that is there gets back what it lacks.

    With --provider each line is a whole body, and becomes the rows that the gateway would make of it.
    """
    if provider is not None:
        check_account(provider, account)
    elif account is not None:
        raise Misconfigured("--account goes with --provider telegram")
    settings = config.load(database_url=database_url)
    conninfo = settings.database()
    inputs = _inputs(files)
    loader: EventLoader | BodyLoader
    if provider is None:
        loader = EventLoader(conninfo)
    else:
        loader = BodyLoader(conninfo, provider=provider, account=account, own_app_ids=settings.own_app_ids())
    work = _Work(
        loader=loader,
        refusal=_refusal if provider is None else _takes_any,
        command=_command(provider, account),
        batch_size=batch_size,
        given=rejected,
        several=len(inputs) > 1,
    )
    started = time.perf_counter()
    try:
        for one in inputs:
            work.take(one)
        if isinstance(loader, BodyLoader):
            loader.sweep()
    finally:
        loader.close()
        work.close()
    seconds = time.perf_counter() - started
    for text in work.unread:
        typer.echo(text, err=True)
    if isinstance(loader, BodyLoader):
        _summarise_bodies(work, loader.taken, seconds, as_json=as_json)
        if loader.taken.failed or loader.taken.held_reason:
            raise typer.Exit(1)
    else:
        _summarise(work, seconds, as_json=as_json)
    if work.figures.rejected or work.unread:
        raise typer.Exit(1)


def _inputs(files: Sequence[str]) -> list[Input]:
    inputs = [one for file in files for one in inputs_of(file)]
    if len({one.name for one in inputs}) < len(inputs):
        raise Misconfigured("the same file is named more than once")
    return inputs


class _Work:
    """Takes in one file after the other, over one connection, and adds up what comes of them."""

    def __init__(
        self,
        *,
        loader: EventLoader | BodyLoader,
        refusal: Callable[[bytes], str | None],
        command: str,
        batch_size: int,
        given: Path | None,
        several: bool,
    ) -> None:
        """`given`: where rejected lines of all files go; each has its own otherwise."""
        self._loader = loader
        self._refusal = refusal
        self._command = command
        self._batch_size = batch_size
        self._given = given
        self.several = several
        self._kept: RejectedLines | None = None
        self._opened = False
        self.figures = Figures()
        self.rejected_files: list[str] = []
        self.to_standard_output = False
        self.files = 0
        self.unread: list[str] = []
        """What of the files could not be read, in words."""

    def take(self, one: Input) -> None:
        """
        Raises:
            ConsumerError: it was not taken to its end.
        """
        with one.opened() as opened:
            kept = self._place_of_rejected(one)
            source = Unpacking(opened, name=one.name)
            reader = LineReader(source, name=one.name, command=self._command)
            ingestion = Ingestion(
                reader=reader,
                refusal=self._refusal,
                loader=self._loader,
                rejected=kept,
                batch_size=self._batch_size,
            )
            try:
                if not self._opened:
                    self._loader.open()
                    self._opened = True
                with _progress(source, ingestion.figures, size_of(opened)) as progress:
                    ingestion.run(progress)
            except (ConsumerError, KeyboardInterrupt) as error:
                if isinstance(error, ConsumerError) and not ingestion.figures.lines and not self.figures.lines:
                    raise
                where = f"{one.name}: " if self.several else ""
                raise ConsumerError(where + _ended_early(error, ingestion.figures, kept)) from error
            finally:
                if self._given is None:
                    kept.close()
        self._add(one, ingestion.figures, kept, source)

    def _place_of_rejected(self, one: Input) -> RejectedLines:
        if self._given is None:
            return rejected_lines(one.rejected_beside, None)
        if self._kept is None:
            self._kept = rejected_lines(one.rejected_beside, self._given)
        if self.several:
            self._kept.file = one.name
        self.to_standard_output = self._kept.path is None
        return self._kept

    def _add(self, one: Input, figures: Figures, kept: RejectedLines, source: Unpacking) -> None:
        self.files += 1
        self.figures.lines += figures.lines
        self.figures.inserted += figures.inserted
        self.figures.duplicates += figures.duplicates
        self.figures.rejected += figures.rejected
        if figures.rejected and kept.name not in self.rejected_files:
            self.rejected_files.append(kept.name)
        if source.damaged:
            places = f"{source.damaged} place{'s' * (source.damaged != 1)}"
            self.unread.append(f"{one.name} is damaged: {places} in it cannot be read; all the rest was")
        if source.torn:
            self.unread.append(
                f"{one.name} has no whole end: it is not a whole copy, or a crash ended its writing. In the latter "
                "case nothing is missing: what is not whole was not deleted from the table"
            )

    @property
    def rejected(self) -> str:
        """How many lines were rejected, and where they are."""
        where = f" (see {', '.join(self.rejected_files[:3])}" + ", …" * (len(self.rejected_files) > 3) + ")"
        return f"{self.figures.rejected:,} rejected" + where * bool(self.rejected_files)

    def close(self) -> None:
        """Closes the file of rejected lines."""
        if self._kept is not None:
            self._kept.close()


def _refusal(line: bytes) -> str | None:
    """Why a line is no event. What an archive has was one: the database takes it, or says why it does not."""
    if line.startswith(ARCHIVED):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return f"not UTF-8 text: byte {error.start + 1} of the line is wrong"
        return None
    return event_schema().refusal(line)


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


@contextmanager
def _progress(source: Unpacking, figures: Figures, size: int | None) -> Iterator[Callable[[], None]]:
    """A bar on standard error where that is a terminal."""
    columns = [BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[figures]}"), TimeRemainingColumn()]
    with Progress(*columns, console=console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=size, figures="")
        started = time.perf_counter()

        def update() -> None:
            rate = figures.lines / max(time.perf_counter() - started, 0.001)
            said = f"{figures.lines:,} lines, {rate:,.0f} a second, {figures.rejected:,} rejected"
            progress.update(task, completed=source.position, figures=said)

        yield update


def _ended_early(error: BaseException, figures: Figures, kept: RejectedLines) -> str:
    reason = "stopped" if isinstance(error, KeyboardInterrupt) else str(error)
    rejected = f", {figures.rejected:,} of them rejected (see {kept.name})" if figures.rejected else ""
    return (
        f"{reason}; up to line {figures.last_line:,} the lines are dealt with{rejected}, the rest is not: "
        "run it again, what is stored already does no harm"
    )


def _summarise(work: _Work, seconds: float, *, as_json: bool) -> None:
    figures = work.figures
    rate = figures.lines / seconds if seconds else 0.0
    if as_json:
        report = {
            "lines": figures.lines,
            "ingested": figures.inserted,
            "duplicates": figures.duplicates,
            "rejected": figures.rejected,
            "seconds": round(seconds, 3),
            "per_second": round(rate),
        } | _about_files(work)
        typer.echo(json_text(report, indent=False), err=work.to_standard_output)
        return
    files = f" of {work.files:,} files" if work.several else ""
    typer.echo(
        f"{figures.lines:,} line{'s' * (figures.lines != 1)}{files}: {figures.inserted:,} ingested, "
        f"{figures.duplicates:,} duplicate{'s' * (figures.duplicates != 1)}, {work.rejected}; "
        f"{seconds:.1f} s, {rate:,.0f} a second",
        err=work.to_standard_output,  # standard output is for the rejected lines then
    )


def _about_files(work: _Work) -> dict[str, object]:
    if not work.several:
        return {"rejected_file": work.rejected_files[0] if work.rejected_files else None}
    return {"files": work.files, "rejected_files": work.rejected_files}


def _summarise_bodies(work: _Work, taken: Taken, seconds: float, *, as_json: bool) -> None:
    figures = work.figures
    rate = figures.lines / seconds if seconds else 0.0
    err = work.to_standard_output  # standard output is for the rejected lines then
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
        } | _about_files(work)
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
        (figures.rejected, work.rejected.partition(" ")[2]),
    ):
        if count:
            typer.echo(f"{count:,} {what}", err=True)
    if taken.held_reason:
        typer.echo(f"messages are held for a fault of the schema: {taken.held_reason}", err=True)
