"""Asks /livez of the service in this container: exit code 0 when it is alive, 1 when not. No library, no curl."""

# ruff: noqa: INP001 - a script, beside files that are no Python
import os
import sys
from urllib.request import urlopen

PORT = os.environ.get("WEBHOOK_ROUTER_HTTP_PORT", "9464")

try:
    with urlopen(f"http://127.0.0.1:{PORT}/livez", timeout=3) as answer:
        print(answer.read().decode().strip())
except OSError as error:
    print(f"not alive: {error}")
    sys.exit(1)
