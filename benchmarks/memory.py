"""Resident memory of the service over many events."""

import threading
import time

from benchmarks.harness import Bench, Row, Service, await_routed, median, percentile

SAMPLE_EVERY = 0.25


def flat(bench: Bench) -> None:
    """One service routes a long backlog; its memory is sampled beside the number of events it has routed."""
    count = bench.pick(quick=40_000, full=1_000_000)
    bench.say(f"memory over {count:,} events")
    samples: list[tuple[float, int]] = []
    with bench.scratch(bench.backlog(count)) as dsn, Service(dsn) as service:
        service.await_ready()
        done = threading.Event()

        def sample() -> None:
            while not done.wait(SAMPLE_EVERY):
                samples.append((time.time(), service.rss()))

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            await_routed(dsn, service, seconds=900)
        finally:
            done.set()
            sampler.join()
    quarter = len(samples) // 4
    second = [rss for _, rss in samples[quarter : 2 * quarter]]
    last = [rss for _, rss in samples[3 * quarter :]]
    bench.add(
        Row(
            key="memory",
            what=f"memory of the service over {count:,} events, last ÷ second quarter",
            measured=median(last) / median(second),
            target=1.1,
            sense="<=",
            note=f"{median(last) / 2**20:.0f} MB against {median(second) / 2**20:.0f} MB",
            details={
                "samples": len(samples),
                "mb_by_tenth": [
                    round(
                        percentile(
                            [rss for _, rss in samples[len(samples) * i // 10 : len(samples) * (i + 1) // 10]], 0.5
                        )
                        / 2**20,
                        1,
                    )
                    for i in range(10)
                ],
            },
        )
    )
