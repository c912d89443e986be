"""explain: where one event is, and what to do if that is not the inbox."""

import dataclasses
import shlex
from collections.abc import Iterator
from typing import Annotated, Final

import typer

from consumer.adapters.postgres.database_url import place_of
from consumer.adapters.postgres.operating import explain as operating
from consumer.adapters.postgres.operating.answers import Answer
from consumer.adapters.postgres.operating.explain import UNKNOWN, Explanation
from consumer.adapters.postgres.operating.session import session
from consumer.cli.options import AsJson, DatabaseUrl, database
from consumer.cli.runtime import run_async
from consumer.cli.tables import json_text, pairs
from consumer.domain.text import duration, printable

_LONG: Final = 30.0
"""Seconds after which a ready event has missed the doorbell, the poll and a sweep at their usual intervals."""
_AT_MOST: Final = 1000
"""What router.explain counts up to."""

_AGAIN: Final = "update public.webhook_events set routed_at = null, conversation_id = null where id = '{}'"


def explain(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="instagram, whatsapp, …")],
    event_id: Annotated[
        str, typer.Argument(metavar="EVENT_ID", help="The provider's id, as in webhook_events.event_id.")
    ],
    *,
    route: Annotated[
        bool, typer.Option("--route", help="Route it now, if it is ready or due, and tell what keeps it from that.")
    ] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Explain where an event is, and what to do next.

    It was routed, or is ready, held, parked, dead, discarded, or unknown here. Prints ids, times and errors, and
    nothing that a person wrote. Exit code 1 if it is unknown.
    """
    conninfo = database(database_url)

    async def look() -> Explanation:
        async with session(conninfo, name="explain") as connection:
            return await (operating.route if route else operating.explain)(connection, channel, event_id)

    found = run_async(look())
    if as_json:
        typer.echo(json_text(dataclasses.asdict(found)))
    else:
        for line in pairs(list(_facts(found))):
            typer.echo(line)
        typer.echo()
        for sentence in _advice(found, conninfo):
            typer.echo(printable(sentence))
    if found.state == UNKNOWN:
        raise typer.Exit(1)


def _facts(found: Explanation) -> Iterator[tuple[str, str]]:
    yield "channel", found.channel or ""
    yield "event_id", found.event_id
    yield "state", found.state
    if found.state != UNKNOWN:
        yield "id", found.id or ""
        yield "type", found.type or ""
        yield "stored", _time(found.created_at, found.age_seconds)
        yield "event_date", found.event_date or "none"
    if found.routed_at is not None:
        took = found.routed_after_seconds
        late = "" if took is None or took < 0 else f", {duration(took) if took >= 1 else f'{took:.3f} s'} after that"
        yield "routed", _time(found.routed_at, found.routed_seconds_ago) + late
    if found.error_code is not None:
        yield "error", f"{found.error_code}: {found.error_message}"
        yield "attempts", str(found.attempts)
        yield "first parked", found.first_parked_at or ""
        yield "last parked", found.last_parked_at or ""
    if found.due_in_seconds is not None:
        yield "next attempt", f"in {duration(found.due_in_seconds)}" if found.due_in_seconds else "due"
    if found.held_reason is not None:
        yield "reason", found.held_reason
    if found.discarded_at is not None:
        yield "discarded", found.discarded_at
    yield from _stored(found)
    status = f" ({found.conversation_status})" if found.conversation_status else ""
    for name, value in (
        ("message", found.message_id),
        ("conversation", found.conversation_id and found.conversation_id + status),
        ("contact", found.contact_id),
        ("contact channel", found.channel_id),
    ):
        if value is not None or found.state == "routed":
            yield name, value or "none"


def _advice(found: Explanation, conninfo: str) -> Iterator[str]:
    """Sentences, each with what can be done next."""
    match found.state:
        case "routed":
            yield from _routed(found)
        case operating.READY:
            yield from _ready(found)
        case operating.HELD:
            yield "It can neither be routed nor be parked, for the reason above. Mend that; no attempt is counted."
            yield f"The service's next sweep routes it then, and so does: {_command(found, '--route')}"
        case "parked":
            yield "It could not be routed, for the error above, and is tried again by itself."
            yield f"Once the cause is mended, you need not wait: webhook-router parked retry {found.id}"
        case "dead":
            yield "It could not be routed, for the error above, and is not tried again: no attempt is left."
            yield f"Mend the cause, then: webhook-router parked retry {found.id}"
            yield f"If it shall never be routed: webhook-router parked discard {found.id}"
        case "discarded":
            yield "An operator has given it up after the error above."
            yield f"To have it tried again: webhook-router parked retry {found.id}"
        case _:
            yield from _unknown(found, conninfo)
    if found.state in {"parked", "dead", "discarded"}:
        yield (
            f"What the person wrote, with the URL of the tables' owner: webhook-router parked show --payload {found.id}"
        )


def _stored(found: Explanation) -> Iterator[tuple[str, str]]:
    """What the raw inbox, and what waits, has of it."""
    for delivery in found.deliveries:
        yield "delivery", _delivery(delivery)
    for effect in found.waiting:
        yield "waits for it", f"{effect['kind']}, since {effect['received_at']}"
    if found.deleted_at is not None:
        yield "deleted", f"{found.deleted_at}, by its author"


def _delivery(delivery: Answer) -> str:
    became = "in effect" if delivery["processed_at"] is not None else "not in effect"
    error = f": {delivery['error']}" if delivery["error"] else ""
    return f"{delivery['id']} of {delivery['provider']}, {delivery['received_at']}, {became}{error}"


def _routed(found: Explanation) -> Iterator[str]:
    if found.message_id is None:
        yield (
            "It was routed, but there is no message with its event_id: a trigger of the application keeps it out of "
            "messages or gives it another provider_message_id, or somebody has deleted it."
        )
        if found.triggers:
            yield f"Triggers that may do so: {', '.join(found.triggers)}"
        yield f"To have it routed again, as the owner of the tables: {_AGAIN.format(found.id)}"
    elif found.conversation_status not in {None, "open"}:
        yield (
            f"It is routed. Its conversation is {found.conversation_status}: an inbox that shows open conversations "
            "does not show it."
        )
    else:
        yield (
            "It is routed, and its message is in the conversation above. If the inbox does not show it, the inbox is "
            "where to look: its filters, its cache, the rights of whoever is logged in."
        )
    if found.conversation_id is None:
        yield "Its conversation was deleted."
    if not found.has_author:
        yield "It names no author, so its conversation has no contact."
    elif found.contact_id is None:
        yield "The contact of its author was deleted."


def _ready(found: Explanation) -> Iterator[str]:
    if found.is_busy:
        yield (
            "Another session has its row locked: it is being routed just now, or some transaction has been open for "
            "long, which pg_stat_activity shows."
        )
        return
    before = found.ready_before or 0
    count = f"{'at least ' if before >= _AT_MOST else ''}{before:,}"
    ahead = "No other ready event" if not before else f"{count} ready event{'' if before == 1 else 's'}"
    yield f"It waits to be routed. {ahead} arrived before it."
    if found.age_seconds is not None and found.age_seconds < _LONG:
        yield "A service that runs routes it within seconds. Look again then."
        return
    yield "Is a service connected, and does it route anything? webhook-router status"
    yield "Is `cannot go on` or `events are held` in the service's log? The line names what to mend."
    yield f"To have it routed now, or to see what keeps it from that: {_command(found, '--route')}"


def _unknown(found: Explanation, conninfo: str) -> Iterator[str]:
    host, name = place_of(conninfo)
    yield f"No row of webhook_events in the database {name} on {host} has this channel and event_id."
    if found.message_id is not None:
        yield "But a message has its id, see above: it was routed once, and its row was deleted since."
    for channel in found.found_in or []:
        other = dataclasses.replace(found, channel=channel)
        yield f"The channel {channel} has an event with this id: {_command(other)}"
    if found.deleted_at is not None:
        yield "Its author has deleted it, so its text is stored nowhere any more."
    stuck = [delivery for delivery in found.deliveries if delivery["processed_at"] is None]
    if stuck:
        yield (
            f"Delivery {stuck[0]['id']} holds it and is not in effect. It is tried again by itself; all about it: "
            f"webhook-router deliveries show {stuck[0]['id']}"
        )
    elif found.deliveries:
        number, provider = found.deliveries[0]["id"], found.deliveries[0]["provider"]
        yield (
            f"Delivery {number} holds it, or quotes it, and is in effect: its row was deleted, or not understood then. "
            f"To have it read once more: webhook-router replay --provider {provider} --since TIME"
        )
    if found.event_id != (bare := found.event_id.strip()):
        yield f"The id has spaces around it; try it without: {_command(dataclasses.replace(found, event_id=bare))}"
    channels = found.channels or []
    if found.channel not in channels:
        there = f"there are events of {', '.join(channels)}" if channels else "the table is empty"
        yield f"No event of this channel was ever stored; {there}."
    elif found.last_event_date is not None:
        yield f"The latest event of this channel is of {found.last_event_date}: do others arrive?"
    yield "Otherwise it was never stored. Check, in this order:"
    yield "- the provider: does its console show the delivery, and what was answered?"
    yield "- whatever takes deliveries (an edge function, an endpoint): its log for that minute, and its errors"
    yield "- the gateway: `webhook-router deliveries list` for what was not understood, the log for what it refused"
    yield "- `webhook-router ingest`: lines that were refused are in the file that its option --rejected names"
    yield "- Kafka: `record set aside in the dead-letter topic` in the service's log, and the lag of its group"
    if found.triggers:
        yield f"- triggers of the application that may keep it out, or change its id: {', '.join(found.triggers)}"


def _command(found: Explanation, *options: str) -> str:
    return shlex.join(["webhook-router", "explain", found.channel or "", found.event_id, *options])


def _time(time: str | None, ago: float | None) -> str:
    if time is None or ago is None:
        return time or "at a time that is not known"
    return f"{time}, {duration(ago)} ago" if ago >= 0 else f"{time}, which is in the future"
