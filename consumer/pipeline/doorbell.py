"""The doorbell as one consumer sees it: whether writers ring, and what each routing call does about it."""

from enum import Enum, auto

from consumer.domain.routing import Batch, Bell


class State(Enum):
    """Whether notifications arrive, and whether this consumer may hold the lock that keeps writers from sending them.

    "May", since the outcome of a call that has failed is unknown.
    """

    DEAF = auto()
    """Notifications do not arrive. The bell must not be silenced, and sleeps are short."""
    ARMED = auto()
    """Writers ring."""
    SILENT = auto()
    """This consumer may hold the lock: it is awake, and writers need not ring."""
    DEAF_SILENT = auto()
    """Notifications have stopped while the lock may be held; it is released when nothing is pending."""


_LISTENING = {State.DEAF: State.ARMED, State.DEAF_SILENT: State.SILENT}
_NOT_LISTENING = {State.ARMED: State.DEAF, State.SILENT: State.DEAF_SILENT}
_RELEASED = {State.SILENT: State.ARMED, State.DEAF_SILENT: State.DEAF}


class Doorbell:
    """Decides what each routing call asks of the bell.

    The calls of a drain silence it, so that writers need not notify a consumer that is awake. When nothing is pending,
    one more call looks with the bell armed: a writer that found it silent may have committed after the last look.
    """

    def __init__(self) -> None:
        self.state = State.DEAF
        self._rung = True
        self.has_silenced = False
        """Whether the last drain may have kept writers from ringing."""
        self._wish: Bell | None = None

    @property
    def rung(self) -> bool:
        """Whether a ring has ended the last sleep; before the first one nobody knows."""
        return self._rung

    @property
    def rings(self) -> bool:
        """Whether a writer can end a sleep: only then may sleeps be long."""
        return self.state in {State.ARMED, State.SILENT}

    def listener_is_up(self) -> None:
        """Notifications arrive."""
        self.state = _LISTENING.get(self.state, self.state)

    def listener_is_down(self) -> None:
        """Notifications no longer arrive."""
        self.state = _NOT_LISTENING.get(self.state, self.state)

    def woken(self, *, rung: bool) -> None:
        """A sleep has ended, with a ring or without one."""
        self._rung = rung

    def before_drain(self) -> None:
        """A drain begins. A look that nobody rang for nearly always finds nothing, so it leaves the bell alone."""
        self._wish = Bell.SILENCE if self._rung else None
        self.has_silenced = False

    def before_call(self) -> Bell | None:
        """What the next call asks of the bell.

        Each call of a drain asks for silence anew: a writer that was looking at the lock may have kept it from the
        call before. So do those of the first lane of a backlog, whose outcomes are not handed to `after_call`.
        """
        if self._wish is Bell.SILENCE:
            if not self.rings:
                return None
            self.state, self.has_silenced = State.SILENT, True
        return self._wish

    def after_call(self, batch: Batch) -> bool:
        """Notes what a call has found; returns whether the drain goes on with another call."""
        if self._wish is Bell.ARM:
            self.state = _RELEASED.get(self.state, self.state)
        if batch.claimed > batch.held:  # what is held would be held again
            self._wish = Bell.SILENCE
        elif self.state in _RELEASED:
            self._wish = Bell.ARM
        else:
            return False
        return True
