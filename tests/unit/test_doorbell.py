"""The doorbell by itself: its states, what each call asks of it, and when a drain is over."""

from collections.abc import Callable

import pytest

from consumer.domain.routing import Bell
from consumer.pipeline.doorbell import Doorbell, State
from tests.fakes import batch

DEAF, ARMED, SILENT, DEAF_SILENT = State
EVENTS, NOTHING = batch(5), batch(0)


def listener_is_up(bell: Doorbell) -> None:
    bell.listener_is_up()


def listener_is_down(bell: Doorbell) -> None:
    bell.listener_is_down()


def call_after_a_ring(bell: Doorbell) -> None:
    bell.woken(rung=True)
    bell.before_drain()
    bell.before_call()


def call_without_a_ring(bell: Doorbell) -> None:
    bell.woken(rung=False)
    bell.before_drain()
    bell.before_call()


def call_that_finds_events(bell: Doorbell) -> None:
    call_without_a_ring(bell)
    bell.after_call(EVENTS)


def call_after_one_that_found_events(bell: Doorbell) -> None:
    call_that_finds_events(bell)
    bell.before_call()


def call_after_one_that_found_nothing(bell: Doorbell) -> None:
    call_without_a_ring(bell)
    if bell.after_call(NOTHING):
        bell.before_call()
        bell.after_call(NOTHING)


@pytest.fixture
def bell(state: State) -> Doorbell:
    """A doorbell that came to its state as it does at work."""
    made = Doorbell()
    if state in {ARMED, SILENT, DEAF_SILENT}:
        made.listener_is_up()
    if state in {SILENT, DEAF_SILENT}:
        call_after_a_ring(made)
    if state is DEAF_SILENT:
        made.listener_is_down()
    assert made.state is state
    return made


@pytest.mark.parametrize(
    ("what", "state", "then"),
    [
        (listener_is_up, DEAF, ARMED),
        (listener_is_up, ARMED, ARMED),
        (listener_is_up, SILENT, SILENT),
        (listener_is_up, DEAF_SILENT, SILENT),
        (listener_is_down, DEAF, DEAF),
        (listener_is_down, ARMED, DEAF),
        (listener_is_down, SILENT, DEAF_SILENT),
        (listener_is_down, DEAF_SILENT, DEAF_SILENT),
        (call_after_a_ring, DEAF, DEAF),
        (call_after_a_ring, ARMED, SILENT),
        (call_after_a_ring, SILENT, SILENT),
        (call_after_a_ring, DEAF_SILENT, DEAF_SILENT),
        (call_without_a_ring, DEAF, DEAF),
        (call_without_a_ring, ARMED, ARMED),
        (call_without_a_ring, SILENT, SILENT),
        (call_without_a_ring, DEAF_SILENT, DEAF_SILENT),
        (call_that_finds_events, DEAF, DEAF),
        (call_that_finds_events, ARMED, ARMED),
        (call_that_finds_events, SILENT, SILENT),
        (call_that_finds_events, DEAF_SILENT, DEAF_SILENT),
        (call_after_one_that_found_events, DEAF, DEAF),
        (call_after_one_that_found_events, ARMED, SILENT),
        (call_after_one_that_found_events, SILENT, SILENT),
        (call_after_one_that_found_events, DEAF_SILENT, DEAF_SILENT),
        (call_after_one_that_found_nothing, DEAF, DEAF),
        (call_after_one_that_found_nothing, ARMED, ARMED),
        (call_after_one_that_found_nothing, SILENT, ARMED),
        (call_after_one_that_found_nothing, DEAF_SILENT, DEAF),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, State) else value.__name__,
)
def test_transitions(bell: Doorbell, what: Callable[[Doorbell], object], then: State) -> None:
    """Only a listener makes the bell ring, only calls silence it, and only one that arms it releases the lock."""
    what(bell)
    assert bell.state is then


@pytest.mark.parametrize(("state", "rings"), [(DEAF, False), (ARMED, True), (SILENT, True), (DEAF_SILENT, False)])
def test_sleeps_may_be_long_while_notifications_arrive(bell: Doorbell, rings: bool) -> None:
    """Whoever holds the lock when the sleep begins: nothing else ends it."""
    assert bell.rings is rings


def asked(bell: Doorbell, *found: int, rung: bool) -> list[Bell | None]:
    """What the calls of a drain ask of the bell, which find so many events each; the last one ends the drain."""
    bell.woken(rung=rung)
    bell.before_drain()
    asks, goes_on = [], True
    for events in found:
        assert goes_on
        asks.append(bell.before_call())
        goes_on = bell.after_call(batch(events))
    assert not goes_on
    return asks


@pytest.mark.parametrize("state", [ARMED])
def test_a_drain_is_silent_until_a_last_look(bell: Doorbell) -> None:
    """Each call asks for silence; what the armed look finds begins the drain anew."""
    assert asked(bell, 5, 5, 0, 0, rung=True) == [Bell.SILENCE, Bell.SILENCE, Bell.SILENCE, Bell.ARM]
    assert asked(bell, 0, 0, rung=True) == [Bell.SILENCE, Bell.ARM]
    assert asked(bell, 0, 1, 0, 0, rung=True) == [Bell.SILENCE, Bell.ARM, Bell.SILENCE, Bell.ARM]


@pytest.mark.parametrize("state", [ARMED])
def test_a_look_that_nobody_rang_for_leaves_the_bell_alone(bell: Doorbell) -> None:
    """Unless it finds something."""
    assert asked(bell, 0, rung=False) == [None]
    assert asked(bell, 3, 0, 0, rung=False) == [None, Bell.SILENCE, Bell.ARM]


@pytest.mark.parametrize("state", [DEAF])
def test_a_bell_that_does_not_ring_is_not_silenced(bell: Doorbell) -> None:
    """Its lock would silence those of consumers that do hear it."""
    assert asked(bell, 5, 5, 0, rung=True) == [None, None, None]


@pytest.mark.parametrize("state", [DEAF_SILENT])
def test_a_lock_that_may_be_held_is_released_without_a_listener(bell: Doorbell) -> None:
    """And no call asks for it any more."""
    assert asked(bell, 5, 0, 0, rung=True) == [None, None, Bell.ARM]
    assert asked(bell, 5, 0, rung=True) == [None, None]


@pytest.mark.parametrize("state", [ARMED])
def test_the_calls_of_a_lane_ask_for_silence(bell: Doorbell) -> None:
    """They come between two calls of the drain, and do not report what they found."""
    bell.before_drain()
    bell.before_call()
    assert bell.after_call(EVENTS)
    assert [bell.before_call() for _ in range(3)] == [Bell.SILENCE] * 3
    assert bell.before_call() is Bell.SILENCE
    assert bell.after_call(NOTHING)
    assert bell.before_call() is Bell.ARM


@pytest.mark.parametrize("state", [ARMED])
@pytest.mark.parametrize("rung", [True, False])
def test_after_a_failure_the_lock_may_be_held(bell: Doorbell, rung: bool) -> None:
    """A call that has failed reports nothing: the drain that follows arms the bell, whatever woke it."""
    bell.before_drain()
    assert bell.before_call() is Bell.SILENCE
    assert asked(bell, 0, 0, rung=rung) == [Bell.SILENCE if rung else None, Bell.ARM]
    bell.woken(rung=True)
    bell.before_drain()
    bell.before_call()
    assert bell.after_call(NOTHING)
    assert bell.before_call() is Bell.ARM  # and fails
    assert bell.state is SILENT


@pytest.mark.parametrize("state", [SILENT])
def test_a_listener_that_is_lost_during_a_call(bell: Doorbell) -> None:
    """The lock that the call took is released; one that comes back in time is used again."""
    bell.listener_is_down()
    assert bell.after_call(EVENTS)
    assert bell.before_call() is None
    bell.listener_is_up()
    assert bell.after_call(EVENTS)
    assert bell.before_call() is Bell.SILENCE
    bell.listener_is_down()
    assert bell.after_call(NOTHING)
    assert bell.before_call() is Bell.ARM
    assert not bell.after_call(NOTHING)
    assert bell.state is DEAF
