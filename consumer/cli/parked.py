"""parked: which events could not be routed, why, and what becomes of them."""

import dataclasses
import shlex
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Annotated, TypeVar
from uuid import UUID

import typer

from consumer.adapters.postgres.operating import parked as operating
from consumer.adapters.postgres.operating.session import Connection, session
from consumer.cli.options import AsJson, DatabaseUrl, add_command, database
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text, pairs, table
from consumer.domain import parked
from consumer.domain.errors import ConsumerError
from consumer.domain.parked import Group, Outcome, ParkedEvent, Selection, State
from consumer.domain.text import duration, printable

Result = TypeVar("Result")

commands = typer.Typer(
    no_args_is_help=True, help="Events that could not be routed: list them, try them again, give them up."
)


def parse_duration(text: str) -> timedelta:
    """
    Raises:
        typer.BadParameter: it is no duration.
    """
    try:
        return parked.age(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _error_class(text: str | None) -> str | None:
    try:
        return text if text is None else parked.error_class(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Ids = Annotated[list[UUID] | None, typer.Argument(metavar="ID", help="Ids, as list shows them.", show_default=False)]
EventIds = Annotated[
    list[str] | None,
    typer.Option(
        "--event-id",
        metavar="EVENT_ID",
        help="Only with this id of the provider; may be given again.",
        show_default=False,
    ),
]
Channel = Annotated[str | None, typer.Option("--channel", help="Only of this channel.")]
ErrorClass = Annotated[
    str | None,
    typer.Option("--error-class", callback=_error_class, help="Only with this SQLSTATE, or its first two characters."),
]
ErrorMessage = Annotated[
    str | None,
    typer.Option("--error-message", help="Only with this message, as list shows it, all of it.", show_default=False),
]
OlderThan = Annotated[
    timedelta | None,
    typer.Option(
        "--older-than", parser=parse_duration, metavar="DURATION", help="First parked longer ago: 15m, 2h, 3d."
    ),
]
NewerThan = Annotated[
    timedelta | None,
    typer.Option("--newer-than", parser=parse_duration, metavar="DURATION", help="First parked more recently."),
]
OfState = Annotated[State | None, typer.Option("--state", help="Only of this state; all but discarded unless given.")]
Everything = Annotated[bool, typer.Option("--all", help="All that the filters let through, instead of ids.")]


def show_list(
    *,
    event_ids: EventIds = None,
    channel: Channel = None,
    error_class: ErrorClass = None,
    error_message: ErrorMessage = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    state: OfState = None,
    group: Annotated[
        bool, typer.Option("--group", help="A line for each error, with counts, instead of one for each event.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most this many lines: the latest, or the most frequent.")] = 50,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List parked events, the latest first.

    The error and the next attempt of each are shown; with --group, how many events have which error.
    """
    filters = Selection(
        event_ids=event_ids or None,
        channel=channel,
        error_class=error_class,
        error_message=error_message,
        older_than=older_than,
        newer_than=newer_than,
        state=state,
    )

    async def look(connection: Connection) -> Sequence[ParkedEvent] | Sequence[Group]:
        if group:
            return (await operating.groups(connection, filters))[:limit]
        return await operating.find(connection, dataclasses.replace(filters, limit=limit))

    found = _asked(database_url, look)
    if as_json:
        typer.echo(json_text(found))
        return
    for line in _by_error(found) if group else _one_by_one(found):
        typer.echo(line)
    if len(found) == limit:
        typer.echo(
            f"the {limit} most frequent errors; --limit shows more"
            if group
            else f"the latest {limit}; --limit shows more, --group a line for each error",
            err=True,
        )
    if not found:
        typer.echo("nothing is parked" + ("" if filters == Selection() else " that has all of this"), err=True)
    if not group:
        for event_id in _missing(event_ids, found):
            command = shlex.join(["webhook-router", "explain", channel or "CHANNEL", event_id])
            typer.echo(f"{printable(event_id)} is not parked; where it is: {printable(command)}", err=True)


def show_one(
    ids: Ids = None,
    *,
    event_ids: EventIds = None,
    payload: Annotated[
        bool,
        typer.Option("--payload", help="Also author, content and raw payload; requires the table owner's rights."),
    ] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show everything about parked events.

    Author, content and raw payload are shown with --payload only.
    """
    if not ids and not event_ids:
        raise typer.BadParameter("say which: ids, as `webhook-router parked list` shows them, or --event-id EVENT_ID")

    async def look(connection: Connection) -> list[ParkedEvent]:
        events: list[ParkedEvent] = []
        if ids:
            events += await operating.find(connection, Selection(ids=ids))
        if event_ids:
            known = {event["id"] for event in events}
            more = await operating.find(connection, Selection(event_ids=event_ids))
            events += [event for event in more if event["id"] not in known]
        shown = [UUID(event["id"]) for event in events]
        written = await operating.contents(connection, shown) if payload else {}
        return [event | written.get(event["id"], {}) for event in events]

    events = _asked(database_url, look)
    if as_json:
        typer.echo(json_text(events))
    else:
        for number, event in enumerate(events):
            if number:
                typer.echo()
            for line in pairs([(name, _text(value)) for name, value in event.items()]):
                typer.echo(line)
    found = {event["id"] for event in events}
    _all_known([given for given in dict.fromkeys(ids or []) if str(given) not in found], _missing(event_ids, events))


Decide = Callable[[Connection, Selection], Awaitable[Outcome]]


def _decision(name: str, decide: Decide, *, text: str, said: str, already: str) -> Callable[..., None]:
    """A command that decides about parked events."""

    def command(
        ids: Ids = None,
        *,
        everything: Everything = False,
        event_ids: EventIds = None,
        channel: Channel = None,
        error_class: ErrorClass = None,
        error_message: ErrorMessage = None,
        older_than: OlderThan = None,
        newer_than: NewerThan = None,
        state: OfState = None,
        limit: Annotated[int | None, typer.Option(min=1, help="At most this many, the latest.")] = None,
        database_url: DatabaseUrl = None,
        as_json: AsJson = False,
    ) -> None:
        filters = Selection(
            event_ids=event_ids or None,
            channel=channel,
            error_class=error_class,
            error_message=error_message,
            older_than=older_than,
            newer_than=newer_than,
            state=state,
            limit=limit,
        )
        selection = _chosen(name, ids, everything=everything, filters=filters)

        async def choose(connection: Connection) -> tuple[Outcome, list[str]]:
            if selection.event_ids is None:
                return await decide(connection, selection), []
            events = await operating.find(connection, selection)
            outcome = await decide(connection, Selection(ids=[UUID(event["id"]) for event in events]))
            return outcome, _missing(selection.event_ids, events)

        outcome, missing = _asked(database_url, choose)
        if as_json:
            typer.echo(json_text(outcome, indent=False))
        else:
            as_before = outcome.matched - outcome.changed
            typer.echo(
                f"{outcome.changed:,} event{'' if outcome.changed == 1 else 's'} {said}"
                + (f"; {as_before:,} {'was' if as_before == 1 else 'were'} {already}" if as_before else "")
            )
        _all_known(outcome.unknown, missing)

    command.__doc__ = text
    return command


def _asked(database_url: str | None, question: Callable[[Connection], Awaitable[Result]]) -> Result:
    """What the database answers."""
    conninfo = database(database_url)

    async def ask() -> Result:
        async with session(conninfo, name="parked") as connection:
            return await question(connection)

    return run_async(ask())


def _chosen(name: str, ids: Sequence[UUID] | None, *, everything: bool, filters: Selection) -> Selection:
    """What a decision is about.

    Raises:
        typer.BadParameter: nothing says so, or it says two things.
    """
    if ids:
        if everything or filters != Selection():
            raise typer.BadParameter("ids, or --all with filters, but not both")
        return Selection(ids=ids)
    if everything or filters.event_ids:
        return filters
    if filters != Selection():
        raise typer.BadParameter(
            f"say which: ids, or --all, which would {name} all events that these filters let through"
        )
    raise typer.BadParameter(
        "say which: ids, or --all, with filters if you like. `webhook-router parked list` shows the ids; "
        f"the provider's id will do as well: webhook-router parked {name} --event-id EVENT_ID"
    )


def _missing(event_ids: Sequence[str] | None, events: Sequence[ParkedEvent]) -> list[str]:
    """Those that no event has."""
    found = {event["event_id"] for event in events}
    return [given for given in dict.fromkeys(event_ids or []) if given not in found]


def _all_known(unknown: Sequence[UUID], missing: Sequence[str]) -> None:
    """
    Raises:
        ConsumerError: some are not parked.
    """
    if unknown or missing:
        advice = "; webhook-router explain CHANNEL EVENT_ID says where an event is" if missing else ""
        given = ", ".join([*(str(one) for one in unknown), *(printable(one) for one in missing)])
        raise ConsumerError(f"not parked (any more): {given}{advice}")


def _one_by_one(events: Sequence[ParkedEvent]) -> Iterator[str]:
    heads = ["id", "channel", "event_id", "state", "age", "attempts", "error", "message", "next attempt"]
    rows = [
        (
            event["id"],
            event["channel"],
            event["event_id"],
            event["state"],
            duration(event["age_seconds"]),
            str(event["attempts"]),
            event["error_code"],
            event["error_message"].replace("\n", " "),
            _next_attempt(event),
        )
        for event in events
    ]
    return table(heads, rows)


def _by_error(groups: Sequence[Group]) -> Iterator[str]:
    heads = ["events", "waiting", "dead", "discarded", "channels", "oldest", "error", "message", "latest id"]
    rows = [
        (
            *(f"{group[count]:,}" for count in ("events", "waiting", "dead", "discarded")),
            " ".join(group["channels"]),
            duration(group["age_seconds"]),
            group["error_code"],
            group["error_message"].replace("\n", " "),
            group["latest_id"],
        )
        for group in groups
    ]
    return table(heads, rows)


def _next_attempt(event: ParkedEvent) -> str:
    due = event["due_in_seconds"]
    if due is None:
        return "never"
    return f"in {duration(due)}" if due else "due"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return printable(value) if "\n" not in value else value
    return json_text(value, indent=False)


add_command(commands, "list", show_list)
add_command(commands, "show", show_one)
add_command(
    commands,
    "retry",
    _decision(
        "retry",
        operating.retry,
        text="Have parked events tried again, as if they had never failed.\n\nThe service's next sweep tries them.",
        said="will be tried again, at the service's next sweep or by: webhook-router reconcile",
        already="due already",
    ),
)
add_command(
    commands,
    "discard",
    _decision(
        "discard",
        operating.discard,
        text="Give up parked events: they stay in the table, untried.\n\n`retry` takes it back.",
        said="will not be tried any more",
        already="discarded already",
    ),
)
