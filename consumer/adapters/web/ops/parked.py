"""/parked: events that could not be routed, and what becomes of them."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

from aiohttp import web
from multidict import MultiMapping

from consumer.adapters.web.ops.answers import form
from consumer.adapters.web.ops.site import Site
from consumer.domain import parked as domain
from consumer.domain.facts import ParkedDecided
from consumer.domain.parked import Decision, Group, ParkedEvent, Place, Selection, State
from consumer.ports import Observer, ParkedDesk

PAGE: Final = 50
"""Events."""
GROUPS: Final = 50
"""Errors, the most frequent ones."""
AT_ONCE: Final = 500
"""Ids in one action."""
LONGEST_LINK: Final = 2000
"""Characters of a message in an address: servers and proxies refuse longer lines."""

Meaning = TypeVar("Meaning")
Choice = TypeVar("Choice", bound=StrEnum)
_FILTERS: Final = ("channel", "error", "message", "older", "newer", "state")


class Refused(Exception):
    """Something in an address or a form that means nothing; the message is for whoever has written it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filters:
    """What the form of the page says, as it was written."""

    channel: str = ""
    error: str = ""
    message: str = ""
    older: str = ""
    newer: str = ""
    state: str = ""

    @classmethod
    def of(cls, fields: MultiMapping[Any]) -> "_Filters":
        return cls(**{name: _field(fields, name) for name in _FILTERS})

    def selection(self) -> Selection:
        """
        Raises:
            Refused: a filter means nothing.
        """
        return Selection(
            channel=_text("channel", self.channel),
            error_class=_meant("error", domain.error_class, self.error),
            error_message=_text("message", self.message),
            older_than=_meant("parked longer ago than", domain.age, self.older),
            newer_than=_meant("parked more recently than", domain.age, self.newer),
            state=_meant("state", _one_of(State), self.state),
        )

    def given(self) -> dict[str, str]:
        return {name: value for name in _FILTERS if (value := getattr(self, name))}

    def command(self, decision: Decision) -> str:
        """What does the same in a terminal."""
        options = {
            "--channel": self.channel,
            "--error-class": self.error,
            "--error-message": self.message,
            "--older-than": self.older,
            "--newer-than": self.newer,
            "--state": self.state,
        }
        words = [word for option, value in options.items() if value for word in (option, value)]
        return shlex.join(["webhook-router", "parked", decision, "--all", *words])


def parked(
    site: Site, *, desk: ParkedDesk, retried: Callable[[], None], observer: Observer
) -> Sequence[web.AbstractRouteDef]:
    """The routes; `retried` is called when events have become due, so that they need not wait for the next sweep."""
    pages = _Pages(site, desk=desk, retried=retried, observer=observer)
    return [
        web.get("/parked", site.page(pages.look)),
        web.get("/parked-count", site.page(pages.count)),
        web.post("/parked", site.action(pages.act)),
    ]


class _Pages:
    def __init__(self, site: Site, *, desk: ParkedDesk, retried: Callable[[], None], observer: Observer) -> None:
        self._site = site
        self._desk = desk
        self._retried = retried
        self._observer = observer

    async def look(self, request: web.Request) -> web.Response:
        if "id" in request.query:
            return await self._event(request.query)
        return await self._list(request.query)

    async def count(self, request: web.Request) -> web.Response:
        """What a decision would be about, before it is made."""
        try:
            decision, selection = _decision(request.query), _selection(request.query)
        except Refused as refused:
            raise web.HTTPBadRequest(text=f"{refused}\n") from None
        counted = await self._desk.count(selection)
        said = domain.asked(decision, counted.events, expected=_expected(selection))
        return web.json_response({"events": counted.events, "as_of": counted.as_of.isoformat(), "said": said})

    async def act(self, request: web.Request) -> web.Response:
        fields = await form(request)
        try:
            decision, selection = _decision(fields), _selection(fields)
        except Refused as refused:
            raise web.HTTPBadRequest(text=f"{refused}\n") from None
        expected = _expected(selection)
        if expected is None or (selection.ids is None and selection.as_of is None):
            raise web.HTTPBadRequest(text="as_of and events are missing: when they were counted, and how many\n")
        outcome = await self._desk.decide(decision, selection)
        if outcome.changed:
            self._observer(ParkedDecided(decision=decision, events=outcome.changed))
            if decision is Decision.RETRY:
                self._retried()
        return web.json_response({"said": f"{domain.said(decision, outcome, expected=expected)}."})

    async def _list(self, query: MultiMapping[Any]) -> web.Response:
        filters = _Filters.of(query)
        try:
            _known(query, *_FILTERS, "before", "before_id")
            selection, before = filters.selection(), _place(query)
        except Refused as refused:
            return self._site.render("parked.html", status=400, filters=filters, refusal=str(refused), found=None)
        found = await self._desk.parked(selection, before=before, size=PAGE)
        following = None
        if found.more:
            last = found.events[-1]
            following = _address(filters.given() | {"before": last["last_parked_at"], "before_id": last["id"]})
        return self._site.render(
            "parked.html",
            filters=filters,
            refusal=None,
            found=found,
            groups=[(group, _group_address(filters, group)) for group in found.groups[:GROUPS]],
            total=sum(group["events"] for group in found.groups),
            first=None if before is None else _address(filters.given()),
            following=following,
            filter=urlencode(filters.given()),
            commands=[filters.command(decision) for decision in Decision],
            event_address=_event_address,
        )

    async def _event(self, query: MultiMapping[Any]) -> web.Response:
        try:
            known_as = _id(query["id"])
        except Refused as refused:
            return self._site.render("parked_event.html", status=400, refusal=str(refused), event=None)
        event = await self._desk.parked_event(known_as)
        if event is None:
            gone = f"{known_as} is not parked (any more)"
            return self._site.render("parked_event.html", status=404, refusal=gone, event=None)
        # What was written is asked for by a GET: it changes nothing, works without scripts, and as all pages is neither
        # kept by anybody nor readable for other sites.
        may_read = await self._desk.may_read()
        written = await self._desk.written(known_as) if may_read and "written" in query else None
        return self._site.render(
            "parked_event.html",
            refusal=None,
            event=event,
            may_read=may_read,
            written=written,
            commands=[f"webhook-router parked {decision} {known_as}" for decision in Decision],
            read_command=f"webhook-router parked show --payload {known_as}",
            event_address=_event_address,
        )


def _selection(fields: MultiMapping[Any]) -> Selection:
    """What an action is about: ids, or all of the filters, as they were counted.

    Raises:
        Refused: it says neither, or both, or something that means nothing.
    """
    ids = fields.getall("id", [])
    if bool(ids) == ("all" in fields):
        raise Refused("say which: id, once or more, or all, with filters")
    if len(ids) > AT_ONCE:
        raise Refused(f"no more than {AT_ONCE:,} ids at once")
    _known(fields, "do", "as_of", "events", *(["id"] if ids else ["all", *_FILTERS]))
    if ids:
        return Selection(ids=list(dict.fromkeys(_id(one) for one in ids)))
    chosen = _Filters.of(fields).selection()
    return Selection(
        channel=chosen.channel,
        error_class=chosen.error_class,
        error_message=chosen.error_message,
        older_than=chosen.older_than,
        newer_than=chosen.newer_than,
        state=chosen.state,
        as_of=_meant("as_of", _time, _field(fields, "as_of")),
        limit=_meant("events", _number, _field(fields, "events")),
    )


def _known(fields: MultiMapping[Any], *names: str) -> None:
    """
    Raises:
        Refused: one has another name. A filter that is misspelt would let everything through.
    """
    if unknown := [name for name in fields if name not in names]:
        raise Refused(f"{unknown[0]!r} is none of {', '.join(names)}")


def _expected(selection: Selection) -> int | None:
    return selection.limit if selection.ids is None else len(selection.ids)


def _decision(fields: MultiMapping[Any]) -> Decision:
    decision = _meant("do", _one_of(Decision), _field(fields, "do"))
    if decision is None:
        raise Refused("do is missing: retry or discard")
    return decision


def _place(fields: MultiMapping[Any]) -> Place | None:
    parked_at = _meant("before", _time, _field(fields, "before"))
    known_as = _meant("before_id", _id, _field(fields, "before_id"))
    if parked_at is None and known_as is None:
        return None
    if parked_at is None or known_as is None:
        raise Refused("before and before_id belong together")
    return Place(parked_at=parked_at, id=known_as)


def _field(fields: MultiMapping[Any], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):  # a file, in a form
        raise Refused(f"{name} is no text")
    return value


def _text(name: str, text: str) -> str | None:
    """
    Raises:
        Refused: no text of a database is like that.
    """
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise Refused(f"{name}: {text!r} holds a character that no text in a database has")
    return text or None


def _meant(name: str, meaning: Callable[[str], Meaning], text: str) -> Meaning | None:
    """
    Raises:
        Refused: it has no such meaning.
    """
    if not text:
        return None
    try:
        return meaning(text)
    except (ValueError, OverflowError) as error:
        raise Refused(f"{name}: {error}") from None


def _one_of(choices: type[Choice]) -> Callable[[str], Choice]:
    def chosen(text: str) -> Choice:
        if text not in set(choices):
            raise ValueError(f"{text!r} is none of {', '.join(choices)}")
        return choices(text)

    return chosen


def _id(text: Any) -> UUID:  # noqa: ANN401 - of a form
    try:
        return UUID(text)
    except (ValueError, AttributeError, TypeError):
        raise Refused(f"{text!r} is no id of a parked event") from None


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return time


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise ValueError(f"{text!r} is no number of events")
    return int(text)


def _group_address(filters: _Filters, group: Group) -> str:
    error, message = group["error_code"], group["error_message"]
    exact = {"message": message} if len(message) <= LONGEST_LINK else {}
    rest = {name: value for name, value in filters.given().items() if name != "message"}
    return _address(rest | {"error": error} | exact)


def _event_address(event: ParkedEvent) -> str:
    """Its story."""
    return f"event?{urlencode({'channel': event['channel'], 'event_id': event['event_id']}, quote_via=quote)}"


def _address(values: Mapping[str, str]) -> str:
    return f"parked?{urlencode(values, quote_via=quote)}" if values else "parked"
