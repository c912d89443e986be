"""How often somebody may try a token."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

PEERS: Final = 1000
"""Whose attempts are remembered; of more, those that have tried longest ago are forgotten."""


class Bucket:
    """Holds so many attempts, and gets one back every so many seconds."""

    def __init__(self, size: int, *, every: float, now: float) -> None:
        self._size = size
        self._every = every
        self._left = float(size)
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until there is an attempt in it; 0: there is one."""
        self._left = min(self._size, self._left + (now - self._at) / self._every)
        self._at = now
        return max((1 - self._left) * self._every, 0.0)

    def take(self, now: float) -> None:
        """Takes one out of it."""
        self.wait(now)
        self._left -= 1


class Attempts:
    """Wrong tokens that may be given, by one peer and by all: ten at once, then one every six seconds; sixty, and one
    a second.

    Right ones cost nothing, and are refused all the same while there are no attempts left: who tries would know from
    the answer otherwise.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._all = Bucket(60, every=1.0, now=now())
        self._peers: OrderedDict[str, Bucket] = OrderedDict()

    def wait(self, peer: str) -> float:
        """Seconds until this one may try; 0: at once."""
        now = self._now()
        by_peer = self._peers[peer].wait(now) if peer in self._peers else 0.0
        return max(by_peer, self._all.wait(now))

    def failed(self, peer: str) -> None:
        """One of them has given a wrong token."""
        now = self._now()
        self._all.take(now)
        bucket = self._peers.pop(peer, None) or Bucket(10, every=6.0, now=now)
        bucket.take(now)
        self._peers[peer] = bucket
        if len(self._peers) > PEERS:
            self._peers.popitem(last=False)
