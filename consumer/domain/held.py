"""Whether events are held: neither routed nor parked, since the schema is at fault."""


class Holding:
    """Follows what calls and sweeps report.

    Events are held from the first call that holds one to the end of a sweep that has held none, if no other call has
    held one since the sweep before: what has just arrived belongs to the hot path, and a sweep does not see it.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why they are, in the words of the last call; None while none is held."""
        self._lately = False

    def called(self, *, held: int, reason: str | None) -> bool:
        """Notes what a call has held; returns whether that is news."""
        if not held:
            return False
        before, self.reason = self.reason, reason or "unknown"
        self._lately = True
        return self.reason != before

    def swept(self, *, held: int) -> bool:
        """Notes the end of a sweep; returns whether events are held no longer."""
        over = self.reason is not None and not held and not self._lately
        self._lately = False
        if over:
            self.reason = None
        return over
