"""Generated histories of events, ways to route them, and what must come out of it: a model without any SQL."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from hypothesis import strategies as st

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
CHANNELS = ("instagram", "whatsapp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event; minutes are counted from `START`."""

    event_id: str
    channel: str
    type: str
    author: str | None
    """"known" has a contact without name and conversation from the beginning, on Instagram."""
    name: str | None
    minute: int | None
    """None: without a date; the arrival counts. It may lie after the arrival, even years."""
    arrival: int
    post: str | None
    preset: bool
    """Names beforehand the conversation `preset`, which is there from the beginning."""
    answered: bool
    """Has its message, in the conversation `answered`, from the beginning."""

    @property
    def sent_at(self) -> datetime:
        """The time of its message."""
        return START + timedelta(minutes=self.arrival if self.minute is None else self.minute)

    @property
    def arrived_at(self) -> datetime:
        """When it is stored for the first time."""
        return START + timedelta(minutes=self.arrival)

    @property
    def ranked_at(self) -> datetime:
        """What decides which of several events is the latest: nobody gains by a date in the future."""
        return min(self.sent_at, self.arrived_at)

    @property
    def date(self) -> datetime | None:
        """What webhook_events holds."""
        return None if self.minute is None else self.sent_at


Action = Literal["begin", "commit", "rollback", "arrive", "again", "batch", "oldest", "one", "reopen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one of the two sessions does next."""

    session: int
    action: Action
    event: int = 0
    limit: int = 1
    channel: str | None = None
    keep_conversation: bool = False


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Events of few people, posts and times, so that they meet often: all of one, or some of each."""
    people: list[list[str | None]] = [["known"], ["a"], [None], [None], ["a", "b"], ["a", "b", "known", None, " "]]
    authors = draw(st.sampled_from(people))
    channels = draw(st.sampled_from([CHANNELS[:1], CHANNELS]))
    kinds = draw(st.sampled_from([["message"], ["comment"], ["comment"], ["message", "comment"]]))
    specials = draw(st.sampled_from([0, 0, 1, 3]))  # of eight
    events = []
    for number in range(draw(st.integers(2, 10))):
        kind = draw(st.sampled_from(kinds))
        special = draw(st.integers(0, 7)) < specials
        events.append(
            Event(
                event_id=f"e{number}",
                channel=draw(st.sampled_from(channels)),
                type=kind,
                author=draw(st.sampled_from(authors)),
                name=draw(st.sampled_from([None, "", "Ann", "Bob", "ann", "Zoë"])),
                minute=draw(st.sampled_from([0, 1, 2, 3, 1_000_000, None])),
                arrival=draw(st.integers(0, 5)),
                post=draw(st.sampled_from([None, "p", "p", "p", "q"])) if kind == "comment" else None,
                preset=special and draw(st.booleans()),
                answered=special and draw(st.booleans()),
            )
        )
    return events


@st.composite
def schedules(draw: st.DrawFn, events: int) -> list[Step]:
    """Rounds in which one session opens a transaction and works, the other works meanwhile, and the first one ends."""
    routing: list[Action] = ["batch", "oldest", "one"]
    actions: list[Action] = ["arrive", "batch", "batch", "oldest", "oldest", "one", "again", "reopen"]

    def step(session: int, among: list[Action], limits: list[int]) -> Step:
        return Step(
            session=session,
            action=draw(st.sampled_from(among)),
            event=draw(st.integers(0, events - 1)),
            limit=draw(st.sampled_from(limits)),
            channel=draw(st.sampled_from([None, None, *CHANNELS])),
            keep_conversation=draw(st.booleans()),
        )

    steps: list[Step] = []
    for _ in range(draw(st.integers(1, 5))):
        first = draw(st.sampled_from([0, 1]))
        for session, begins in ((first, True), (1 - first, draw(st.booleans()))):
            steps += [Step(session=session, action="begin")] if begins else []
            steps.append(step(session, routing, [1, 1, 2, 3]))
            steps += [step(session, actions, [1, 2, 50]) for _ in range(draw(st.integers(0, 2)))]
        steps += [Step(session=session, action=draw(ends)) for session in draw(st.permutations([0, 1]))]
    return steps


ends: st.SearchStrategy[Action] = st.sampled_from(["commit", "commit", "commit", "rollback"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation, known by what is in it."""

    author: tuple[str, str] | None
    channel: str
    thread: str | None
    status: str
    last_message_at: datetime | None
    messages: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message of an event."""

    event_id: str
    channel: str
    author: tuple[str, str] | None
    direction: str
    content: str
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that routing makes, but for ids and the times of making."""

    people: dict[tuple[str, str], tuple[str | None, str | None]]
    """(channel, external_id) → full_name of the contact, display_name of the channel."""
    conversations: list[Conversation]
    messages: list[Message]
    events: dict[str, frozenset[str]]
    """Event → the messages of its conversation."""


def order(conversation: Conversation) -> list[str]:
    """For comparing lists of conversations."""
    return [repr(sorted(conversation.messages)), conversation.channel, str(conversation.thread)]


def expected(events: list[Event]) -> Outcome:
    """What is true in the end, worked out event by event from the contract."""
    names: dict[tuple[str, str], list[tuple[datetime, str]]] = {("instagram", "known"): []}
    members: dict[object, list[Event]] = defaultdict(list)
    messages = []
    for event in events:
        author = None if event.author is None or not event.author.strip() else (event.channel, event.author)
        if event.answered:
            members["answered"].append(event)
            messages.append(
                Message(
                    event_id=event.event_id,
                    channel=event.channel,
                    author=None,
                    direction="outbound",
                    content="answered",
                    sent_at=START,
                )
            )
            continue
        if author is not None:
            known = names.setdefault(author, [])
            if event.name:
                known.append((event.ranked_at, event.name))
        if event.preset:
            members["preset"].append(event)
        elif author is not None:
            members["author", author].append(event)
        elif event.type == "comment" and event.post is not None:
            members["post", event.channel, event.post].append(event)
        else:
            members["alone", event.channel, f"{event.type}:{event.event_id}"].append(event)
        messages.append(
            Message(
                event_id=event.event_id,
                channel=event.channel,
                author=author,
                direction="inbound",
                content=f"text of {event.event_id}",
                sent_at=event.sent_at,
            )
        )
    members["preset"], members["answered"]  # both are there from the beginning, also without messages
    conversations = [conversation_of(key, inside) for key, inside in members.items()]
    return Outcome(
        people={author: (max(known)[1],) * 2 if known else (None, None) for author, known in names.items()},
        conversations=sorted(conversations, key=order),
        messages=sorted(messages, key=lambda message: message.event_id),
        events={e.event_id: frozenset(i.event_id for i in inside) for inside in members.values() for e in inside},
    )


def conversation_of(key: object, inside: list[Event]) -> Conversation:
    """The conversation with these events' messages."""
    latest = max((event.ranked_at for event in inside), default=None)
    ids = frozenset(event.event_id for event in inside)
    match key:
        case "answered":
            return Conversation(
                author=None, channel="instagram", thread="answered", status="closed", last_message_at=None, messages=ids
            )
        case "preset":
            return Conversation(
                author=None,
                channel="instagram",
                thread="preset",
                status="pending",
                last_message_at=latest,
                messages=ids,
            )
        case "author", (str(channel), str(author)):
            return Conversation(
                author=(channel, author),
                channel=channel,
                thread=None,
                status="open",
                last_message_at=latest,
                messages=ids,
            )
        case _, str(channel), str(thread):
            return Conversation(
                author=None, channel=channel, thread=thread, status="open", last_message_at=latest, messages=ids
            )
    raise AssertionError(key)
