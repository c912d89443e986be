"""Delays between attempts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays that double from `first` to `maximum` seconds."""

    first: float = 0.1
    maximum: float = 5.0
    """Also the longest time that a fault is felt after it has ended."""

    def delay(self, attempt: int, *, jitter: float) -> float:
        """Seconds to wait before the next attempt.

        Args:
            attempt: attempts that have failed so far, from 1.
            jitter: 0 up to 1; the delay is between half of its nominal value and all of it, so that replicas that
                failed together do not come back together.
        """
        # The exponent is capped: 2.0**1024 is an OverflowError, and a database can be away for weeks.
        nominal = min(self.maximum, self.first * 2.0 ** min(attempt - 1, 60))
        return nominal * (0.5 + jitter / 2)
