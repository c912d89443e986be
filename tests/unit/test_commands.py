"""The table of commands: what it says of each, and that a command is loaded when it is called and not before."""

import importlib
import inspect
import json
import subprocess
import sys

import pytest
import typer

from consumer.cli.app import ALIASES, COMMANDS

HEAVY = {
    "aiohttp",
    "aiokafka",
    "asyncio",
    "jinja2",
    "jsonschema",
    "prometheus_client",
    "psycopg",
    "pydantic",
    "rich",
    "structlog",
    "uvloop",
}
"""What the service is made of: it takes most of a second to load."""


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a process has loaded when it ends."""
    script = """
import json, sys
from consumer.cli import main
sys.argv[1:] = json.loads(sys.argv[1])
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(sys.modules)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, json.dumps(arguments)], capture_output=True, text=True, check=True
    )
    return set(json.loads(ran.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)], ids=str)
def test_help_loads_no_command(arguments: tuple[str, ...]) -> None:
    """Nor what commands need."""
    modules = loaded_by(*arguments)
    assert not HEAVY & modules
    assert {name for name in modules if name.startswith("consumer.cli.")} == {
        "consumer.cli.app",
        "consumer.cli.starting",
    }


@pytest.mark.parametrize("name", ["config", "status", "run"])
def test_a_command_does_not_load_the_others(name: str) -> None:
    """The brokers' driver is loaded by those that talk to brokers."""
    modules = loaded_by(name, "--help")
    assert f"consumer.cli.{'show_config' if name == 'config' else name}" in modules
    assert not {"consumer.cli.parked", "consumer.cli.demo", "aiokafka", "jsonschema"} & modules


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_command_says(name: str) -> None:
    """The first line of its own help; a group of commands has a line that names them."""
    place, summary = COMMANDS[name]
    module, _, attribute = place.partition(":")
    found = getattr(importlib.import_module(f"consumer.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        assert found.registered_commands
    else:
        first, *_ = (inspect.getdoc(found) or "").splitlines()
        assert first.rstrip(".") == summary


def test_aliases_are_names_of_commands() -> None:
    """Of others than they are themselves."""
    assert set(ALIASES.values()) <= set(COMMANDS)
    assert not set(ALIASES) & set(COMMANDS)
