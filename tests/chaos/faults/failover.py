"""Another server takes over."""

from collections.abc import Iterator

from tests.chaos.faults.fault import fault
from tests.chaos.pair import follow, make_alone, make_synchronous, standby_of
from tests.chaos.scene import Scene


@fault(
    "failover",
    "kill -9 of the primary, its synchronous standby is promoted, the address moves; later a planned change back",
    needs="standby",
    seconds=(2, 10),
    alone=True,
)
def failover(scene: Scene) -> Iterator[None]:
    assert scene.relay is not None
    first = scene.server
    silently = scene.chance.random() < 0.5
    rewind = scene.chance.random() < 0.5
    with standby_of(first) as second:
        make_synchronous(first)
        scene.relay.lead_to(None, silently=silently)
        first.kill()
        second.promote()
        scene.relay.lead_to(second.port, silently=silently)
        yield
        # The other way round it is planned: the old server follows first, and the new one is stopped in order.
        follow(first, second, rewind=rewind)
        make_synchronous(second)
        second._end("fast")
        scene.relay.lead_to(None)
        first.promote()
        make_alone(first)
        scene.relay.lead_to(first.port)
