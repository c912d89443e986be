"""Waiting for a fact with a deadline, which is how tests here synchronise."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

_POLL_SECONDS = 0.01
PATIENCE = 120.0
"""Seconds that anything may take on a machine that others load heavily; only a failing test ever waits that long."""

T = TypeVar("T")


def wait_for(predicate: Callable[[], T], *, timeout: float = PATIENCE, what: str = "the condition") -> T:
    """Asks until the answer is true, and returns it; AssertionError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}; last answer: {answer!r}")
        time.sleep(_POLL_SECONDS)
    return answer


async def await_for(
    predicate: Callable[[], Awaitable[T]], *, timeout: float = PATIENCE, what: str = "the condition"
) -> T:
    """As `wait_for`, for an async question; the loop runs on meanwhile. A question that hangs fails in the same way."""
    answer: T | None = None
    try:
        async with asyncio.timeout(timeout):
            while not (answer := await predicate()):
                await asyncio.sleep(_POLL_SECONDS)
            return answer
    except TimeoutError:
        raise AssertionError(f"waited {timeout:g} s in vain for {what}; last answer: {answer!r}") from None
