"""The soak: its arithmetic, and a run of a few seconds."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import live, report, soak
from benchmarks.harness import ROOT, SETTINGS, Bench, Row
from benchmarks.writers import pgbench_program
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.servers import newest_binaries


def sample(at: float, events: int, *, wal: float, checkpoints: int, dead: int, vacuums: int) -> dict[str, Any]:
    """One sample in which an event takes two ids, 300 µs of a backend and 100 µs of Python."""
    return {
        "at": at,
        "wal": wal,
        "full_pages": events / 10,
        "xids": 1_000 + 2.0 * events,
        "checkpoints": checkpoints,
        "bytes": 8e6 + 1_000 * events,
        "backends": events * 300e-6,
        "python": 5 + events * 100e-6,
        "memory": 80_000_000 + events,
        "tables": {
            "webhook_events": {
                "inserted": 60 + events,
                "dead": dead,
                "vacuums": vacuums,
                "heap": 1_000 * events,
                "indexes": 500 * events,
            }
        },
    }


def seen() -> dict[str, Any]:
    """An hour with a checkpoint in its middle, behind which an event logs twice as much."""
    return {
        "rate": 1.0,
        "seconds": 3600.0,
        "events": 4_000,
        "batches": 1_000,
        "samples": [
            sample(0, 0, wal=0, checkpoints=5, dead=0, vacuums=3),
            sample(1800, 2_000, wal=2_000 * 3_000, checkpoints=6, dead=900, vacuums=4),
            sample(3600, 4_000, wal=2_000 * 9_000, checkpoints=6, dead=100, vacuums=5),
        ],
        # In no order, as the database returns them; the last quarter is ten times as slow.
        "latencies": [(float(n), 20.0 if n >= 3_000 else 2.0) for n in reversed(range(4_000))],
        "indexes": {"webhook_events_pkey": 2_000_000},
        "claim_pages_beginning": 40,
        "claim_pages_watermark": 4,
    }


def test_report_divides_what_grew_by_the_events_between_two_samples() -> None:
    """Counters that did not begin at zero count from the first sample on."""
    of = soak.report(seen())
    assert of["events"] == 4_000
    assert of["backends_us"] == pytest.approx(300)
    assert of["python_us"] == pytest.approx(100)
    assert of["cpu_us"] == pytest.approx(400)
    assert of["xids"] == pytest.approx(2)
    assert of["events_a_batch"] == pytest.approx(4)
    assert of["bytes_an_event"] == pytest.approx(1_000)
    assert of["gb_a_day"] == pytest.approx(4_000 * 1_000 * 24 / 1e9)
    assert of["full_pages"] == pytest.approx(0.1)


def test_report_tells_what_came_before_a_checkpoint_from_what_came_after() -> None:
    """Whole pages are logged anew behind a checkpoint, so the two are different figures."""
    of = soak.report(seen())
    assert (of["wal_before_checkpoint"], of["wal_after_checkpoint"]) == (3_000, 6_000)
    assert of["wal_bytes"] == 4_500
    assert of["wal_over_time"] == [3_000, 6_000]
    without = seen()
    for taken in without["samples"]:
        taken["checkpoints"] = 5
    of = soak.report(without)
    assert (of["wal_before_checkpoint"], of["wal_after_checkpoint"]) == (4_500, None)
    assert dict(soak.rows(of))["after the first checkpoint"] == "no checkpoint came"


def test_report_compares_the_ends_in_the_order_of_arrival() -> None:
    """The most dead rows are those of any sample; vacuums are those of the run."""
    of = soak.report(seen())
    assert (of["p50_first_ms"], of["p50_last_ms"]) == (2, 20)
    table = of["tables"]["webhook_events"]
    assert (table["dead_most"], table["dead_last"], table["vacuums"]) == (900, 100, 2)


def test_page_shows_what_is_recorded() -> None:
    """Nothing, one column or both; a row that an older report lacks is a dash."""
    assert "No soak is recorded yet" in soak.markdown({})
    one = {
        "report": soak.report(seen()),
        "version": "abc",
        "date": "2026-01-01",
        "machine": {"cpus": 2, "postgres": "18.0"},
    }
    assert "| what | now |" in soak.markdown({"now": one})
    assert "| transaction ids an event, its insert's own included | 2.00 | 2.00 |" in soak.markdown(
        {"now": one, "before": one}
    )


def test_few_seconds_of_traffic_give_a_report() -> None:
    """All events are routed and every figure is there."""
    server = EmbeddedPostgres.start(
        binaries=newest_binaries(), settings=SETTINGS | {"shared_buffers": "64MB", "fsync": "off"}
    )
    try:
        bench = Bench(quick=True, console=Console(quiet=True), server=server)
        if pgbench_program(bench) is None:
            pytest.skip("no pgbench beside the server or on the PATH")
        found = live.traffic(bench, ROOT, rate=100, seconds=3, every=1)
    finally:
        server.stop("immediate")
    of = json.loads(json.dumps(soak.report(found)))
    assert of["events"] == found["events"] == len(found["latencies"]) > 100
    assert 1 <= of["events_a_batch"] <= of["events"]
    assert of["xids"] > 1, "each insert takes one of its own"
    assert of["wal_bytes"] > 500
    assert of["backends_us"] > 0
    assert of["python_us"] > 0
    assert soak.rows(of)


def test_saved_report_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--of FILE --record before` measures nothing, and leaves the other one as it was."""
    figures, saved = tmp_path / "figures.json", tmp_path / "saved.json"
    figures.write_text(json.dumps({"run": {}, "soak": {"now": {"kept": 1}}}), encoding="utf-8")
    result = {"report": soak.report(seen()), "version": "abc"}
    saved.write_text(json.dumps(result), encoding="utf-8")
    monkeypatch.setattr("benchmarks.report.FIGURES", figures)
    monkeypatch.setattr("benchmarks.soak.FIGURES", figures)
    monkeypatch.setattr("sys.argv", ["soak", "--of", str(saved), "--record", "before"])
    assert soak.main() == 0
    kept = json.loads(figures.read_text(encoding="utf-8"))["soak"]
    assert kept["now"] == {"kept": 1}
    assert kept["before"]["version"] == "abc"


def test_rows_measured_by_themselves_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They replace the row of their key where it was, or follow the others; other rows stay."""
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps({"run": {"rows": [{"key": "tax"}, {"key": "idle"}]}}), encoding="utf-8")
    monkeypatch.setattr("benchmarks.report.FIGURES", figures)
    rows = [Row(key="live-peak", what="peak", measured=2.0, note="n"), Row(key="tax", what="tax", measured=1.0)]
    report.record_rows(rows, {"date": "2026-01-01", "version": "abc"})
    kept = json.loads(figures.read_text(encoding="utf-8"))["run"]["rows"]
    assert [row["key"] for row in kept] == ["tax", "idle", "live-peak"]
    assert kept[0]["note"] == "measured by itself on 2026-01-01, version abc"
    assert kept[1] == {"key": "idle"}
    assert kept[2]["note"] == "n; measured by itself on 2026-01-01, version abc"
