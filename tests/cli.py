"""Commands run inside the test's process; `tests.processes.command` runs them as a process of their own."""

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.domain.errors import ConsumerError


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """The output of a command and how it ended; `error` is what `main` would turn into a line and an exit code."""

    code: int
    out: str
    err: str
    error: ConsumerError | None

    @property
    def json(self) -> Any:
        """Its output, where that is JSON."""
        return json.loads(self.out)


def run(dsn: str, *arguments: str) -> Ran:
    """Runs a command against a database; anything but an error that is meant for the user goes on to the test."""
    done = CliRunner().invoke(app, [*arguments, "--database-url", dsn])
    error = done.exception
    if error is not None and not isinstance(error, (ConsumerError, SystemExit)):
        raise error
    return Ran(
        code=done.exit_code,
        out=done.stdout,
        err=done.stderr,
        error=error if isinstance(error, ConsumerError) else None,
    )
