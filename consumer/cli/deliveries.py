"""deliveries: what providers have sent, as it is stored."""

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import orjson
import typer

from consumer.adapters.postgres.operating import deliveries as operating
from consumer.adapters.postgres.operating.answers import Answer
from consumer.adapters.postgres.operating.deliveries import Selection, State
from consumer.adapters.postgres.operating.session import session
from consumer.cli.options import AsJson, DatabaseUrl, Provider, add_command, database
from consumer.cli.replay import moment
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text, pairs, table
from consumer.domain.errors import ConsumerError
from consumer.domain.text import printable

commands = typer.Typer(
    no_args_is_help=True, help="What providers have sent: what was not understood, and what is not in effect yet."
)


def show_list(
    *,
    provider: Annotated[Provider | None, typer.Option(help="Only of this provider.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only with atoms of this kind; of any state then.")] = None,
    state: Annotated[
        State | None, typer.Option(help="Only of this state; all that are not quite in order unless given.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="Only since then: a time, or 3d, 12h, 30min.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many, the latest.")] = 20,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List what deliveries hold, by kind with counts, and those that are not quite in order.

    These are deliveries with something that was not understood, and those that are not in effect. Nothing that a person
    wrote is shown.
    """
    shown = state if state is not None or kind is not None else State.TROUBLED
    selection = Selection(provider=provider, kind=kind, state=shown, since=since)
    conninfo = database(database_url)

    async def look() -> tuple[list[Answer], list[Answer]]:
        async with session(conninfo, name="deliveries") as connection:
            return await operating.kinds(connection, selection), await operating.find(
                connection, selection, limit=limit
            )

    kinds, found = run_async(look())
    if as_json:
        typer.echo(json_text({"kinds": kinds, "deliveries": found}))
        return
    for line in _by_kind(kinds):
        typer.echo(line)
    typer.echo()
    for line in _one_by_one(found):
        typer.echo(line)
    if len(found) == limit:
        typer.echo(f"the latest {limit}; --limit shows more", err=True)


def show_some(
    ids: Annotated[
        list[int],
        typer.Argument(metavar="ID", min=1, max=2**63 - 1, help="Ids, as list shows them.", show_default=False),
    ],
    *,
    body: Annotated[bool, typer.Option("--body", help="Also the body, with all that people wrote in it.")] = False,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Only the body, byte for byte, for `webhook-router ingest --provider` or a file."),
    ] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show everything about deliveries; exit code 1 if one is not there.

    The body is shown with --body or --raw only.
    """
    wanted = list(dict.fromkeys(ids))
    conninfo = database(database_url)

    async def look() -> list[tuple[Answer, bytes | None]]:
        async with session(conninfo, name="deliveries") as connection:
            return await operating.show(connection, wanted)

    found = run_async(look())
    if raw:
        sys.stdout.flush()
        for _, content in found:
            sys.stdout.buffer.write((content or b"") + b"\n")
        sys.stdout.buffer.flush()
    elif as_json:
        typer.echo(json_text([answer | ({"body": _readable(content)} if body else {}) for answer, content in found]))
    else:
        for number, (answer, content) in enumerate(found):
            if number:
                typer.echo()
            rows = [(name, _text(value)) for name, value in answer.items()]
            for line in pairs([*rows, ("body", _pretty(content))] if body else rows):
                typer.echo(line)
    missing = [number for number in wanted if number not in {answer["id"] for answer, _ in found}]
    if missing:
        raise ConsumerError(f"no such delivery, or it is older than they are kept: {', '.join(map(str, missing))}")


def _by_kind(kinds: Sequence[Answer]) -> Iterator[str]:
    yield from table(
        ("provider", "kind", "atoms", "deliveries", "last"),
        [
            (row["provider"], row["kind"], f"{row['atoms']:,}", f"{row['deliveries']:,}", row["last_received_at"])
            for row in kinds
        ],
    )


def _one_by_one(found: Sequence[Answer]) -> Iterator[str]:
    yield from table(
        ("id", "provider", "account", "received", "kinds", "state", "attempts", "error"),
        [
            (
                str(row["id"]),
                row["provider"],
                row["account"] or "",
                row["received_at"],
                _counts(row["kinds"]),
                _state(row),
                str(row["attempts"]),
                row["error"] or "",
            )
            for row in found
        ],
        count=True,
    )


def _counts(kinds: dict[str, int] | None) -> str:
    return ", ".join(f"{kind} {number}" for kind, number in (kinds or {}).items())


def _state(row: Answer) -> str:
    if row["processed_at"] is None:
        return "dead" if row["next_attempt_at"] is None else "waiting"
    return "unknown" if row["has_unknown"] else "in effect"


def _text(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json_text(value, indent=False)


def _readable(content: bytes | None) -> Any:  # noqa: ANN401 - any JSON value
    """The body for JSON: its value, or its text if it is none."""
    if content is None:
        return None
    try:
        return orjson.loads(content)
    except ValueError:
        return content.decode(errors="replace")


def _pretty(content: bytes | None) -> str:
    if content is None:
        return "none: it was deleted with the message that it held"
    try:
        return json_text(orjson.loads(content))
    except ValueError:
        return printable(content.decode(errors="replace"))


add_command(commands, "list", show_list)
add_command(commands, "show", show_some)
