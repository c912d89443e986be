"""webhook-router as a real process: started, asked over HTTP, killed with real signals."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from tests.waiting import PATIENCE, wait_for


class Router:
    """A running `webhook-router run`. Its log is read as it is written, so it never blocks on a full pipe."""

    def __init__(self, dsn: str, *flags: str, env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "consumer", "run", "--http-port", "0", *flags],
            env={**clean_environment(), "WEBHOOK_ROUTER_DATABASE_URL": dsn, "WEBHOOK_ROUTER_LOG_FORMAT": "json"}
            | dict(env or {}),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        self.database = dsn
        self.lines: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            try:
                self.lines.append(json.loads(raw))
            except json.JSONDecodeError:
                self.lines.append({"event": raw.decode(errors="replace").rstrip()})

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Lines whose event begins like this."""
        return [line for line in self.lines if str(line["event"]).startswith(event)]

    @property
    def address(self) -> str:
        """Where it answers HTTP; waits until it does."""
        started = wait_for(lambda: self.logged("webhook-router is running"), what=f"a start, {self.lines}")
        return str(started[0]["address"])

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a GET."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the series of this name with these labels; 0 when there is none."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            series, _, value = line.rpartition(" ")
            found, _, rest = series.partition("{")
            if found == name and all(f'{key}="{wanted}"' in rest for key, wanted in labels.items()):
                total += float(value)
        return total

    def until_ready(self) -> None:
        """Waits until it routes and hears notifications, or polls since it cannot."""
        wait_for(lambda: self.get("/readyz")[0] == 200, what=f"/readyz, {self.lines}")

    def until_listening(self) -> None:
        """Waits until it hears notifications."""
        self.until_ready()
        wait_for(lambda: self.metric("webhook_router_listener_up") == 1, what=f"a listener, {self.lines}")

    def signal(self, number: signal.Signals) -> None:
        """Sends the signal."""
        self.process.send_signal(number)

    def stopped(self, timeout: float = PATIENCE) -> int:
        """Waits for the end and returns the exit code."""
        return self.process.wait(timeout=timeout)


@contextlib.contextmanager
def running(dsn: str, *flags: str, env: Mapping[str, str] | None = None) -> Iterator[Router]:
    """A service that is killed at the end, unless the test has stopped it before."""
    router = Router(dsn, *flags, env=env)
    try:
        yield router
    finally:
        if router.process.poll() is None:
            router.process.kill()
        router.process.wait()
        assert router.process.stderr is not None
        router.process.stderr.close()


def clean_environment() -> dict[str, str]:
    """This environment without settings of webhook-router, libpq and OpenTelemetry, which a developer may have."""
    others = ("WEBHOOK_ROUTER_", "PG", "OTEL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(others)}


def command(
    *arguments: str, dsn: str | None = None, stdin: str | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `webhook-router …` to its end; `env` is added to a clean environment."""
    env = {**clean_environment(), **(env or {})}
    if dsn is not None:
        env["WEBHOOK_ROUTER_DATABASE_URL"] = dsn
    return subprocess.run(
        [sys.executable, "-m", "consumer", *arguments],
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
