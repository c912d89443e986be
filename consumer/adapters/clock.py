"""Time and chance of the machine."""

import random
import time


class SystemClock:
    """The real `Clock`."""

    def monotonic(self) -> float:
        return time.monotonic()

    def jitter(self) -> float:
        return random.random()  # noqa: S311 - spreads retries, protects nothing
