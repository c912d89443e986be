"""The report of a run: JSON for machines, Markdown for people."""

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from tests.chaos.faults import Fault


@dataclass(slots=True, kw_only=True)
class FaultReport:
    """The outcome of one fault; recoveries are in seconds from its end until everything was routed."""

    text: str
    tried: int = 0
    not_made: int = 0
    """Times that the moment for it did not come."""
    survived: int = 0
    recoveries: list[float] = field(default_factory=list)
    """Of the steps in which it came first."""


@dataclass(slots=True, kw_only=True)
class Report:
    """What a run has shown."""

    command: str
    seed: int
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    machine: str = field(
        default_factory=lambda: f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )
    postgres: int = 0
    kafka: str = ""
    seconds: float = 0.0
    refused: int = 0
    """Deliveries that a producer had to make again."""
    samples: int = 0
    verdict: dict[str, int] = field(default_factory=dict)
    violations: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    faults: dict[str, FaultReport] = field(default_factory=dict)
    impossible: dict[str, str] = field(default_factory=dict)
    """Faults that could not be made on this machine, and why."""
    exits: list[str] = field(default_factory=list)
    """Replicas that ended by themselves."""
    remarks: list[str] = field(default_factory=list)

    def fault(self, fault: Fault) -> FaultReport:
        """The entry of a fault."""
        return self.faults.setdefault(fault.name, FaultReport(text=fault.text))

    @property
    def recoveries(self) -> list[float]:
        """Of all faults, in order of size."""
        return sorted(seconds for entry in self.faults.values() for seconds in entry.recoveries)

    @property
    def passed(self) -> bool:
        """Whether the ledger has found nothing wrong and the system has recovered from every fault."""
        return not self.violations and all(entry.survived == entry.tried for entry in self.faults.values())

    def json(self) -> str:
        """For machines."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, file: Path) -> Self:
        """Reads what `json` has written."""
        told: dict[str, Any] = json.loads(file.read_text())
        told["faults"] = {name: FaultReport(**entry) for name, entry in told["faults"].items()}
        return cls(**told)

    def markdown(self) -> str:
        """For people: the verdict and the table of faults."""
        v, all_of_them = self.verdict, self.recoveries
        servers = f"Postgres {self.postgres}" + (f", {self.kafka}" if self.kafka else "")
        behind = f"`last_message_at` behind** ({self.samples} samples, and in the end)"
        lines = [
            f"`{self.command}`, {self.date}: {self.seconds / 60:.0f} minutes on {self.machine}, {servers}.",
            "",
            "| the ledger's verdict | |",
            "|---|---:|",
            f"| events | {v['events']:,} |",
            f"| acknowledged to their producer | {v['acknowledged']:,} |",
            f"| deliveries (an event comes up to five times) | {v['deliveries']:,} |",
            f"| deliveries that a producer had to repeat, since a fault had refused them | {self.refused:,} |",
            f"| events parked through their own fault, as they should be | {v['parked']:,} |",
            *self._counted("POSTs of providers that got 200", "posts"),
            *self._counted("reactions, and statuses of ours, that came with them", "reactions", "statuses"),
            f"| **lost** | **{v['lost']}** |",
            f"| **altered, or in the wrong conversation** | **{v['altered']}** |",
            f"| **never sent by anybody** | **{v['unknown']}** |",
            f"| **messages doubled** | **{v['messages_doubled']}** |",
            f"| **contacts doubled** | **{v['contacts_doubled']}** |",
            f"| **open conversations doubled** | **{v['conversations_doubled']}** |",
            f"| **{behind} | **{v['last_message_at_behind']}** |",
            f"| **routed and un-routed again** | **{v['unrouted_again']}** |",
            f"| **offsets ahead of effects** | **{v['offsets_ahead']}** |",
            f"| **parked through no fault of their own, if only for a moment** | **{v['parked_without_cause']}** |",
            *self._counted("POSTs that got 200, and are not kept and in effect", "posts_lost", bold=True),
            *self._counted("reactions and statuses lost", "effects_lost", bold=True),
            *self._counted("reactions and states of messages other than what was told", "effects_altered", bold=True),
            f"| replicas that ended by themselves | {len(self.exits)} |",
            f"| recovery, p50 / p99 / max of {len(all_of_them)} | {_seconds(all_of_them)} |",
            "",
            "| fault | tried | survived | recovery, p50 / p99 / max |",
            "|---|---:|---:|---:|",
        ]
        for name, entry in sorted(self.faults.items()):
            tried, survived = entry.tried - entry.not_made, entry.survived - entry.not_made
            lines.append(f"| **{name}**: {entry.text} | {tried} | {survived} | {_seconds(entry.recoveries)} |")
        if self.impossible:
            lines += ["", "Not possible on this machine:", ""]
            lines += [f"- {name}: {reason}" for name, reason in sorted(self.impossible.items())]
        return "\n".join(lines) + "\n"

    def _counted(self, text: str, *names: str, bold: bool = False) -> list[str]:
        """A row of the verdict; none in reports that are older than it."""
        if not all(name in self.verdict for name in names):
            return []
        stars, count = "**" if bold else "", sum(self.verdict[name] for name in names)
        return [f"| {stars}{text}{stars} | {stars}{count:,}{stars} |"]


def _seconds(values: Sequence[float]) -> str:
    if not values:
        return "–"
    ordered = sorted(values)
    return " / ".join(f"{at:.2f} s" for at in (_share(ordered, 0.5), _share(ordered, 0.99), ordered[-1]))


def _share(ordered: Sequence[float], share: float) -> float:
    """The nearest rank."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


BEGIN, END = "<!-- chaos report: begin -->", "<!-- chaos report: end -->"


def put_into(document: Path, block: str) -> None:
    """Replaces the text between the markers."""
    before, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    document.write_text(f"{before}{BEGIN}\n{block}{END}{after}", encoding="utf-8")


def block_of(document: Path) -> str:
    """The text between the markers."""
    return document.read_text(encoding="utf-8").partition(f"{BEGIN}\n")[2].partition(END)[0]
