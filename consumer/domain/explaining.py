"""What became of an event, in the words of `webhook-router explain` and of the page: facts, steps in time, and advice.

Ids, times, states and errors; nothing that a person wrote.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from consumer.domain.providers import phones
from consumer.domain.routing import routed_by
from consumer.domain.text import duration

UNKNOWN: Final = "unknown"
READY: Final = "ready"
HELD: Final = "held"
"""Ready, and an attempt has shown what keeps it so."""

LONG: Final = 30.0
"""Seconds after which a ready event has missed the doorbell, the poll and a sweep at their usual intervals."""
AT_MOST: Final = 1000
"""What router.explain and router.effects_told count up to."""

_AGAIN: Final = "update public.webhook_events set routed_at = null, conversation_id = null where id = '{}'"
_EFFECTS: Final[Mapping[str, str]] = {"sent": "accepted", "edits": "edited", "deletion": "deleted"}
"""Kinds of router.effects_told as things that have happened; the others are their own words."""
_NUMBER_AS_PEOPLE_WRITE_IT: Final = re.compile(r"\+?[0-9][0-9 ().\u00a0\u2011/-]*")

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The row of router.explain, which says what is null when. Times are texts: Postgres has some that Python lacks."""

    state: str
    id: str | None
    channel: str | None
    """None: any channel was asked for, and none has the event."""
    type: str | None
    event_id: str
    event_date: str | None
    created_at: str | None
    age_seconds: float | None
    """Since `created_at`; negative if that is in the future, None if it is not finite."""
    has_author: bool | None
    ready_before: int | None
    error_code: str | None
    error_message: str | None
    attempts: int | None
    first_parked_at: str | None
    last_parked_at: str | None
    next_attempt_at: str | None
    """None if there is none."""
    due_in_seconds: float | None
    discarded_at: str | None
    routed_at: str | None
    routed_seconds_ago: float | None
    routed_after_seconds: float | None
    """From `created_at` to `routed_at`."""
    conversation_id: str | None
    conversation_status: str | None
    message_id: str | None
    contact_id: str | None
    channel_id: str | None
    triggers: list[str] | None
    found_in: list[str] | None
    channels: list[str] | None
    last_event_date: str | None
    routed_by: str | None = None
    """By which path, see router.mark_routed; None if it is not routed, or nobody has noted it."""
    deliveries: Sequence[Answer] = field(default_factory=list)
    """Stored deliveries that hold its text, the latest first."""
    waiting: Sequence[Answer] = field(default_factory=list)
    """Effects that wait for its message."""
    deleted_at: str | None = None
    """When a delivery has told that its author has deleted it."""
    effects: Sequence[Answer] = field(default_factory=list)
    """What has become of its message, the earliest first: rows of router.effects_told."""
    held_reason: str | None = None
    """Of an attempt to route it, see `route`."""
    is_busy: bool | None = None
    """Whether another session had its row locked during that attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An event or a message that an id has led to: an object of router.find_events, which says what is null when."""

    matched_by: str
    channel: str
    event_id: str | None
    id: str | None
    message_id: str | None
    state: str | None
    event_date: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a search has found."""

    hits: Sequence[Hit]
    is_partial: bool
    """Whether more events are ready or parked than were looked at for their author."""
    story: Explanation | None
    """Of the only hit, or that of an unknown event if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that has happened to an event, or will."""

    at: str | None
    """None: at a time that is not known."""
    what: str
    details: str = ""


@dataclass(frozen=True, slots=True)
class Advice:
    """A sentence; with a command, or a statement, that ends it and can be typed as it is."""

    text: str
    command: str = ""

    def __str__(self) -> str:
        return self.text + self.command


def spellings(text: str) -> list[str]:
    """An id as it may be stored: telephone numbers have several spellings, and people write them with spaces."""
    found = [text]
    if _NUMBER_AS_PEOPLE_WRITE_IT.fullmatch(text) and phones.is_phone(digits := re.sub("[^0-9]", "", text)):
        found += phones.spellings(digits)
        found += [digits, f"+{digits}"]
    return list(dict.fromkeys(found))


def facts(found: Explanation) -> Iterator[tuple[str, str]]:
    """All that is known, by name."""
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
        late = "" if took is None or took < 0 else f", {_short(took)} after that"
        yield "routed", f"{_time(found.routed_at, found.routed_seconds_ago)}{late}, {_path(found)}"
    yield from _failures(found)
    for delivery in found.deliveries:
        yield "delivery", _delivery(delivery, with_time=True)
    for effect in found.waiting:
        yield "waits for it", f"{effect['kind']}, since {effect['received_at']}"
    if found.deleted_at is not None:
        yield "deleted", f"{found.deleted_at}, by its author"
    yield from places(found)
    for effect in found.effects:
        if effect["kind"] != "deletion" or found.deleted_at is None:
            details = _details(effect)
            yield effect["kind"], _time(effect["at"], None) + (f", {details}" if details else "")


def _failures(found: Explanation) -> Iterator[tuple[str, str]]:
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


def places(found: Explanation) -> Iterator[tuple[str, str]]:
    """Where it is in the inbox: ids by the name of what they are of."""
    status = f" ({found.conversation_status})" if found.conversation_status else ""
    for name, value in (
        ("message", found.message_id),
        ("conversation", found.conversation_id and found.conversation_id + status),
        ("contact", found.contact_id),
        ("contact channel", found.channel_id),
    ):
        if value is not None or found.state == "routed":
            yield name, value or "none"


def timeline(found: Explanation) -> list[Step]:
    """What has happened to it, the earliest first; what has no time that Python knows stays behind what led to it."""
    steps = list(_steps(found))
    earlier = datetime.min.replace(tzinfo=UTC)
    keys = []
    for step in steps:
        earlier = _moment(step.at) or earlier
        keys.append(earlier)
    return [steps[place] for place in sorted(range(len(steps)), key=lambda place: (keys[place], place))]


def _steps(found: Explanation) -> Iterator[Step]:
    """In the order in which they happen, as a rule."""
    if found.event_date is not None:
        yield Step(at=found.event_date, what="dated", details="by its provider, or by whoever stored it")
    for delivery in reversed(found.deliveries):
        yield Step(at=delivery["received_at"], what="received", details=f"in delivery {_delivery(delivery)}")
    if found.state != UNKNOWN:
        yield Step(at=found.created_at, what="stored", details=f"as a {found.type} of {found.channel}")
    yield from _attempts(found)
    if found.routed_at is not None:
        took = found.routed_after_seconds
        late = "" if took is None or took < 0 else f"{_short(took)} after it was stored, "
        yield Step(at=found.routed_at, what="routed", details=late + _path(found))
    yield from _later(found)


def _attempts(found: Explanation) -> Iterator[Step]:
    if found.error_code is not None:
        number = found.attempts or 0
        if number > 1:
            yield Step(at=found.first_parked_at, what="parked", details="for the first time")
        yield Step(
            at=found.last_parked_at,
            what="parked",
            details=f"after attempt {number}: {found.error_code}: {found.error_message}",
        )
    if found.discarded_at is not None:
        yield Step(at=found.discarded_at, what="discarded", details="by an operator")
    elif found.due_in_seconds is not None:
        due = f"in {duration(found.due_in_seconds)}" if found.due_in_seconds else "due now"
        yield Step(at=found.next_attempt_at, what="next attempt", details=due)


def _later(found: Explanation) -> Iterator[Step]:
    """What became of its message."""
    for effect in found.effects:
        yield Step(at=effect["at"], what=_EFFECTS.get(effect["kind"], effect["kind"]), details=_details(effect))
    if found.deleted_at is not None and not any(effect["kind"] == "deletion" for effect in found.effects):
        yield Step(at=found.deleted_at, what=_EFFECTS["deletion"], details="by its author")
    for effect in found.waiting:
        refused = f"; refused: {effect['error']}" if effect["error"] else ""
        yield Step(
            at=effect["received_at"],
            what=f"{effect['kind']} waits",
            details=f"until its message is there, or until {effect['expires_at']}{refused}",
        )


def advice(found: Explanation, *, host: str, database: str) -> Iterator[Advice]:
    """Sentences, each with what can be done next."""
    match found.state:
        case "routed":
            yield from _routed(found)
        case "ready":
            yield from _ready(found)
        case "held":
            yield Advice(
                "It can neither be routed nor be parked, for the reason above. Mend that; no attempt is counted."
            )
            yield Advice("The service's next sweep routes it then, and so does: ", _command(found, "--route"))
        case "parked":
            yield Advice("It could not be routed, for the error above, and is tried again by itself.")
            yield Advice("Once the cause is mended, you need not wait: ", f"webhook-router parked retry {found.id}")
        case "dead":
            yield Advice("It could not be routed, for the error above, and is not tried again: no attempt is left.")
            yield Advice("Mend the cause, then: ", f"webhook-router parked retry {found.id}")
            yield Advice("If it shall never be routed: ", f"webhook-router parked discard {found.id}")
        case "discarded":
            yield Advice("An operator has given it up after the error above.")
            yield Advice("To have it tried again: ", f"webhook-router parked retry {found.id}")
        case _:
            yield from _unknown(found, host=host, database=database)
    if found.state in {"parked", "dead", "discarded"}:
        yield Advice(
            "What the person wrote, with the URL of the tables' owner: ",
            f"webhook-router parked show --payload {found.id}",
        )


def _routed(found: Explanation) -> Iterator[Advice]:
    if found.message_id is None:
        yield Advice(
            "It was routed, but there is no message with its event_id: a trigger of the application keeps it out of "
            "messages or gives it another provider_message_id, or somebody has deleted it."
        )
        if found.triggers:
            yield Advice(f"Triggers that may do so: {', '.join(found.triggers)}")
        yield Advice("To have it routed again, as the owner of the tables: ", _AGAIN.format(found.id))
    elif found.conversation_status not in {None, "open"}:
        yield Advice(
            f"It is routed. Its conversation is {found.conversation_status}: an inbox that shows open conversations "
            "does not show it."
        )
    else:
        yield Advice(
            "It is routed, and its message is in the conversation above. If the inbox does not show it, the inbox is "
            "where to look: its filters, its cache, the rights of whoever is logged in."
        )
    if found.conversation_id is None:
        yield Advice("Its conversation was deleted.")
    if not found.has_author:
        yield Advice("It names no author, so its conversation has no contact.")
    elif found.contact_id is None:
        yield Advice("The contact of its author was deleted.")


def _ready(found: Explanation) -> Iterator[Advice]:
    if found.is_busy:
        yield Advice(
            "Another session has its row locked: it is being routed just now, or some transaction has been open for "
            "long, which pg_stat_activity shows."
        )
        return
    before = found.ready_before or 0
    count = f"{'at least ' if before >= AT_MOST else ''}{before:,}"
    ahead = "No other ready event" if not before else f"{count} ready event{'' if before == 1 else 's'}"
    yield Advice(f"It waits to be routed. {ahead} arrived before it.")
    if found.age_seconds is not None and found.age_seconds < LONG:
        yield Advice("A service that runs routes it within seconds. Look again then.")
        return
    yield Advice("Is a service connected, and does it route anything? ", "webhook-router status")
    yield Advice("Is `cannot go on` or `events are held` in the service's log? The line names what to mend.")
    yield Advice("To have it routed now, or to see what keeps it from that: ", _command(found, "--route"))


def _unknown(found: Explanation, *, host: str, database: str) -> Iterator[Advice]:
    here = f"No row of webhook_events in the database {database} on {host} has this"
    yield Advice(f"{here} event_id, in any channel." if found.channel is None else f"{here} channel and event_id.")
    if found.message_id is not None:
        yield Advice("But a message has its id, see above: it was routed once, and its row was deleted since.")
    for channel in found.found_in or []:
        other = replace(found, channel=channel)
        yield Advice(f"The channel {channel} has an event with this id: ", _command(other))
    if found.deleted_at is not None:
        yield Advice("Its author has deleted it, so its text is stored nowhere any more.")
    stuck = [delivery for delivery in found.deliveries if delivery["processed_at"] is None]
    if stuck:
        yield Advice(
            f"Delivery {stuck[0]['id']} holds it and is not in effect. It is tried again by itself; all about it: ",
            f"webhook-router deliveries show {stuck[0]['id']}",
        )
    elif found.deliveries:
        number, provider = found.deliveries[0]["id"], found.deliveries[0]["provider"]
        yield Advice(
            f"Delivery {number} holds it, or quotes it, and is in effect: its row was deleted, or not understood then. "
            "To have it read once more: ",
            f"webhook-router replay --provider {provider} --since TIME",
        )
    if found.channel is not None and found.event_id != (bare := found.event_id.strip()):
        yield Advice("The id has spaces around it; try it without: ", _command(replace(found, event_id=bare)))
    yield from _of_its_channel(found)
    yield Advice("Otherwise it was never stored. Check, in this order:")
    yield Advice("- the provider: does its console show the delivery, and what was answered?")
    yield Advice("- whatever takes deliveries (an edge function, an endpoint): its log for that minute, and its errors")
    yield Advice(
        "- the gateway: `webhook-router deliveries list` for what was not understood, the log for what it refused"
    )
    yield Advice("- `webhook-router ingest`: lines that were refused are in the file that its option --rejected names")
    yield Advice("- Kafka: `record set aside in the dead-letter topic` in the service's log, and the lag of its group")
    if found.triggers:
        yield Advice(
            f"- triggers of the application that may keep it out, or change its id: {', '.join(found.triggers)}"
        )


def _of_its_channel(found: Explanation) -> Iterator[Advice]:
    channels = found.channels or []
    there = f"there are events of {', '.join(channels)}" if channels else "the table is empty"
    if found.channel is None:
        yield Advice(f"{there[0].upper()}{there[1:]}.")
    elif found.channel not in channels:
        yield Advice(f"No event of this channel was ever stored; {there}.")
    elif found.last_event_date is not None:
        yield Advice(f"The latest event of this channel is of {found.last_event_date}: do others arrive?")


def _path(found: Explanation) -> str:
    return "by a path that is not recorded" if found.routed_by is None else routed_by(found.routed_by)


def _delivery(delivery: Answer, *, with_time: bool = False) -> str:
    became = "in effect" if delivery["processed_at"] is not None else "not in effect"
    error = f": {delivery['error']}" if delivery["error"] else ""
    time = f", {delivery['received_at']}" if with_time else ""
    return f"{delivery['id']} of {delivery['provider']}{time}, {became}{error}"


def _details(effect: Answer) -> str:
    number: int | None = effect["number"]
    count = "" if number is None else f"{'at least ' if number >= AT_MOST else ''}{number:,}"
    texts = f"{count} earlier text{'' if number == 1 else 's'} kept" if count else ""
    latest = f"{count}, the latest at this time"
    return {
        "sent": "by its provider",
        "failed": f"code {effect['codes']}" if effect["codes"] else "",
        "reactions": latest,
        "reactions taken back": latest,
        "edits": texts,
        "deletion": "by its author",
        "referral": "that came without a message",
        "reply": "waits for the message that it answers",
    }.get(effect["kind"], "")


def _command(found: Explanation, *options: str) -> str:
    return shlex.join(["webhook-router", "explain", found.channel or "", found.event_id, *options])


def _time(time: str | None, ago: float | None) -> str:
    if time is None or ago is None:
        return time or "at a time that is not known"
    return f"{time}, {duration(ago)} ago" if ago >= 0 else f"{time}, which is in the future"


def _short(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else f"{seconds:.3f} s"


def _moment(time: str | None) -> datetime | None:
    """None for a time that Python lacks."""
    try:
        found = None if time is None else datetime.fromisoformat(time)
    except ValueError:
        return None
    return found if found is None or found.tzinfo is not None else found.replace(tzinfo=UTC)
