"""Parked events: what could not be routed, for an operator to look at and to decide about."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST: Final = 1000 * 365 * 86_400

ParkedEvent = dict[str, Any]
"""The columns of router.parked, with `age_seconds` and `due_in_seconds`; no next attempt: None."""
Group = dict[str, Any]
"""Events with the same error: how many `events`, of them `waiting`, `dead` and `discarded`; their `channels`."""


class State(StrEnum):
    """What an event is waiting for."""

    WAITING = "waiting"
    """Its next attempt."""
    DEAD = "dead"
    """An operator: no attempt is left."""
    DISCARDED = "discarded"
    """Nothing: an operator has given it up."""


class Decision(StrEnum):
    """What an operator has done with parked events."""

    RETRY = "retry"
    """They are tried again at the next sweep, as if they had never failed."""
    DISCARD = "discard"
    """They stay in the table, untried; a retry takes this back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events; None is no condition, but discarded ones are only found by state, id or event_id."""

    ids: Sequence[UUID] | None = None
    event_ids: Sequence[str] | None = None
    """The provider's ids, in any channel; for lists, decisions are made by id."""
    channel: str | None = None
    error_class: str | None = None
    """An SQLSTATE, or its first characters."""
    error_message: str | None = None
    """As it is shown, all of it."""
    older_than: timedelta | None = None
    """First parked longer ago than this."""
    newer_than: timedelta | None = None
    state: State | None = None
    limit: int | None = None
    """The latest parked ones only."""
    as_of: datetime | None = None
    """The ages are those of this moment, by the clock of the database: what has been parked since is not among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page of a list ends: at the event with this id, which was parked at this time."""

    parked_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A page of parked events, and how many there are by their error."""

    groups: Sequence[Group]
    """Of all that the filters let through, whatever the page; the most frequent first."""
    events: Sequence[ParkedEvent]
    """The one parked last first."""
    more: bool
    """Others come after these."""
    counted: int | None
    """The groups are of that many that were parked last, and of no others; None: of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What a decision would be about."""

    events: int
    as_of: datetime
    """When they were counted, by the clock of the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a decision did."""

    matched: int
    """Events that the selection met."""
    changed: int
    """Those of them that were not in the wanted state already."""
    unknown: list[UUID]
    """Given ids that do not belong to parked events."""


def age(text: str) -> timedelta:
    """An age such as 45s, 15m, 2h, 3d, 1w or 1h30m.

    Raises:
        ValueError: it is something else, in words.
    """
    if not re.fullmatch(r"(?:[0-9]{1,9}[smhdw])+", text):
        raise ValueError(f"{text!r} is no duration such as 45s, 15m, 2h, 3d, 1w or 1h30m")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhdw])", text))
    if seconds > _LONGEST:
        raise ValueError(f"{text!r} is longer than a thousand years")
    return timedelta(seconds=seconds)


def error_class(text: str) -> str:
    """An SQLSTATE, or its first two characters.

    Raises:
        ValueError: it is something else, in words.
    """
    if not re.fullmatch(r"[0-9A-Za-z]{2}(?:[0-9A-Za-z]{3})?", text):
        raise ValueError(f"{text!r} is neither an SQLSTATE such as 23514 nor the two characters it begins with")
    return text


def asked(decision: Decision, events: int, *, expected: int | None) -> str:
    """What a decision about so many events will do; `expected`: how many were chosen by id."""
    if events == 0:
        return "No event is parked that has all of this." if expected is None else "None of these is parked any more."
    one = events == 1
    missing = 0 if expected is None else max(expected - events, 0)
    rest = f" Of those that were chosen {missing:,} {_is(missing)} not parked any more." if missing else ""
    if expected is None:
        rest = " What is parked from now on is not among them."
    if decision is Decision.RETRY:
        tried = "It is tried at the next sweep, as if it" if one else "They are tried at the next sweep, as if they"
        return f"{tried} had never failed.{rest}"
    return f"{'It stays' if one else 'They stay'} in the table, untried; a retry takes this back.{rest}"


def said(decision: Decision, outcome: Outcome, *, expected: int) -> str:
    """What became of a decision, in words; `expected`: about how many events it was."""
    retry = decision is Decision.RETRY
    already, missing = outcome.matched - outcome.changed, max(expected - outcome.matched, 0)
    parts = [
        f"{_events(outcome.changed)} {_is(outcome.changed)} tried again at the next sweep"
        if retry
        else f"{_events(outcome.changed)} will not be tried any more"
    ]
    if already:
        parts.append(f"{already:,} {_was(already)} {'due' if retry else 'discarded'} already")
    if missing:
        parts.append(f"{missing:,} {_is(missing)} not parked any more, or not so")
    return "; ".join(parts)


def _events(number: int) -> str:
    return f"{number:,} event{'' if number == 1 else 's'}"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
