"""Worked cases: bodies, and the rows that must result. A file is one case; tests/cases/README.md has the keys."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "cases"
CHANNELS = {"messenger": "facebook"}
"""Channels that are not called as their provider is."""


@dataclass(frozen=True, slots=True)
class Case:
    """One file."""

    provider: str
    name: str
    content: dict[str, Any]

    @property
    def expect(self) -> dict[str, Any]:
        """What must be there in the end."""
        expect: dict[str, Any] = self.content["expect"]
        return expect

    @property
    def any_order(self) -> bool:
        """Whether the bodies, shuffled and repeated, must end in the same rows."""
        return bool(self.content.get("any_order"))

    @property
    def flattened(self) -> bool:
        """Whether its bodies are rows for ingest_webhook_event, and not a provider's."""
        return bool(self.content.get("flattened"))

    @property
    def setup(self) -> dict[str, Any]:
        """Configuration that it needs."""
        return dict(self.content.get("setup", {}))

    def bodies(self) -> list[bytes]:
        """All bodies, in their order."""
        return [
            *map(_encoded, self.content.get("given", [])),
            *([self.body()] if "body" in self.content else []),
            *map(_encoded, self.content.get("then", [])),
        ]

    def body(self) -> bytes:
        """The body under test."""
        body = self.content["body"]
        return body.encode() if self.content.get("raw") else _encoded(body)

    def __str__(self) -> str:
        return f"{self.provider}/{self.name}"


def cases(*, http: bool = False) -> list[Case]:
    """All cases; those of HTTP, which have requests instead of bodies, are asked for by themselves."""
    return list(_read(http=http))


def named(which: Sequence[Case]) -> list[str]:
    """Names for the tests of cases."""
    return [str(case) for case in which]


def _read(*, http: bool) -> Iterator[Case]:
    for file in sorted(FOLDER.glob("*/*.json")):
        provider = file.parent.name
        if (provider == "http") == http:
            yield Case(provider, file.stem, json.loads(file.read_text(encoding="utf-8")))


def _encoded(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", errors="surrogatepass")
