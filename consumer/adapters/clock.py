"""The real clock."""

import random
import time


class SystemClock:
    """The `Clock` of the machine."""

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def jitter(self) -> float:
        """See `Clock.jitter`."""
        return random.random()  # noqa: S311 - spreads retries, protects nothing
