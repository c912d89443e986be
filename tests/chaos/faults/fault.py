"""What a fault is.

A course is a generator: it injects the fault before its `yield` and ends it afterwards. The caller decides how long the
fault lasts: a second in a test, up to half a minute in the driver. A course leaves as many replicas as it found, and
waits for facts, never for time.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.chaos.scene import Scene

Course = Callable[[Scene], Iterator[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault; `seconds` is how long the driver leaves it in force."""

    name: str
    text: str
    course: Course
    seconds: tuple[float, float] = (1, 6)
    needs: str | None = None
    """What must be possible here: see scene.possible. None: nothing special."""
    stops_server: bool = False
    """Whether nobody can change anything in the database meanwhile."""
    asks_server: bool = True
    """Whether the database, or routing, must work for it to begin."""
    alone: bool = False
    """Whether it stops what others need to begin or to end, so that nothing else may happen meanwhile."""

    def on(self, scene: Scene) -> contextlib.AbstractContextManager[None]:
        """The fault, in force for the duration of the `with` block, however that ends."""
        return _in_force(self.course(scene))

    def may_contain(self, other: "Fault") -> bool:
        """Whether another one may begin and end while this is in force."""
        return other is not self and not (self.alone or other.alone) and not (self.stops_server and other.asks_server)


@contextlib.contextmanager
def _in_force(course: Iterator[None]) -> Iterator[None]:
    next(course)
    try:
        yield
    finally:
        next(course, None)


FAULTS: dict[str, Fault] = {}
"""Every fault by its name, once the package is imported."""


def fault(
    name: str,
    text: str,
    *,
    seconds: tuple[float, float] = (1, 6),
    needs: str | None = None,
    stops_server: bool = False,
    asks_server: bool = True,
    alone: bool = False,
) -> Callable[[Course], Course]:
    """Registers a course under its name."""

    def enter(course: Course) -> Course:
        assert name not in FAULTS
        FAULTS[name] = Fault(
            name=name,
            text=text,
            course=course,
            seconds=seconds,
            needs=needs,
            stops_server=stops_server,
            asks_server=asks_server,
            alone=alone,
        )
        return course

    return enter
