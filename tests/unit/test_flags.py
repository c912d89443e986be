"""The flags of commands: each says what its setting says, refuses what that refuses, and wins only when given."""

import inspect
from typing import Any

import pytest
import typer
import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.cli.options import FLAGS, with_settings
from consumer.config import Settings
from tests.processes import command

SECRETS = {
    "kafka_sasl_password",
    "kafka_ssl_key_password",
    *(f"{provider}_app_secrets" for provider in ("whatsapp", "instagram", "messenger", "tiktok")),
    *(f"{provider}_verify_token" for provider in ("whatsapp", "instagram", "messenger")),
    "telegram_bots",
    "ops_token",
}
"""Settings that a command line would show to every user of the machine."""


def flags() -> list[tuple[str, Any]]:
    """Each flag of each command that is the flag of a setting, by the command's name."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    commands = {
        **{name: command for name, command in root.commands.items() if not isinstance(command, TyperGroup)},
        **{
            f"{name} {below}": command
            for name, group in root.commands.items()
            if isinstance(group, TyperGroup)
            for below, command in group.commands.items()
        },
    }
    return [
        (name, parameter)
        for name, command in commands.items()
        for parameter in command.params
        # The batch of `ingest` is one of lines.
        if parameter.name in Settings.model_fields and (name, parameter.name) != ("ingest", "batch_size")
    ]


def test_each_flag_says_what_its_setting_says() -> None:
    """The text, in every command; `run` has a flag for each setting but secrets, and shows the defaults."""
    assert {name for name, _ in flags()} > {"run", "reconcile", "demo", "produce", "status", "parked list"}
    for name, parameter in flags():
        assert parameter.help == Settings.model_fields[parameter.name].description, name
    of_run = {parameter.name: parameter for name, parameter in flags() if name == "run"}
    assert set(of_run) == set(FLAGS) == set(Settings.model_fields) - SECRETS
    for name, parameter in of_run.items():
        assert f"--{name.replace('_', '-')}" in parameter.opts
        assert parameter.default == Settings.model_fields[name].default
    assert "--dead-letter-topic" in of_run["kafka_dead_letter_topic"].opts


def test_help_shows_defaults_and_choices() -> None:
    """As a user reads it."""
    said = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "200"}).stdout
    assert "<postgres|kafka>" in said
    assert "[default: postgres]" in said
    assert "<debug|info|warning|error>" in said
    assert "[default: 1000]" in said
    assert "<SASL_PLAINTEXT" not in said  # the choices of a setting are one list
    assert "PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL" in said


@pytest.mark.parametrize("group", [[], ["parked"]], ids=str)
def test_the_list_of_commands_is_whole(group: list[str]) -> None:
    """Each has a line of its own on a terminal of 80 columns, and nothing is cut off; the alias is not listed."""
    said = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "80"}).stdout
    listed = said.partition("Commands:\n")[2].splitlines()
    assert len(listed) >= 4
    for line in listed:
        name, *words = line.split()
        assert line.startswith(f"  {name}  "), "a line that goes on"
        assert words
        assert not line.endswith(("…", "..."))
    assert "dead-letters" not in said


def test_dead_letters_is_another_name_of_parked() -> None:
    """With the same commands and options."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    parked, alias = root.commands["parked"], root.commands["dead-letters"]
    assert isinstance(parked, TyperGroup)
    assert isinstance(alias, TyperGroup)
    assert alias.hidden
    assert {name: [p.opts for p in command.params] for name, command in alias.commands.items()} == {
        name: [p.opts for p in command.params] for name, command in parked.commands.items()
    }


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_words(shell: str) -> None:
    """The program prints the script that a shell needs, and answers what the script asks."""
    script = command("--show-completion", shell, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert script.returncode == 0
    assert "_WEBHOOK_ROUTER_COMPLETE=complete_" in script.stdout
    asked = {
        "_WEBHOOK_ROUTER_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "webhook-router run --source ",
        "COMP_CWORD": "3",
        "_TYPER_COMPLETE_ARGS": "webhook-router run --source ",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    assert "kafka" in command(env=asked).stdout


def test_a_misspelt_variable_is_mentioned_once() -> None:
    """On standard error, before whatever the command says, and it changes nothing else."""
    done = command("migrate", "--print", env={"WEBHOOK_ROUTER_BATCHSIZE": "hunter2"})
    assert done.returncode == 0
    assert done.stderr == (
        "webhook-router: WEBHOOK_ROUTER_BATCHSIZE is not a setting; is WEBHOOK_ROUTER_BATCH_SIZE meant?\n"
    )
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--source", "rabbitmq"], "'--source'"),
        (["run", "--log-level", "loud"], "'--log-level'"),
        (["run", "--batch-size", "many"], "'--batch-size'"),
        (["run", "--batch-size", "0"], "'--batch-size'"),
        (["run", "--overlap", "0"], "'--overlap'"),
        (["run", "--http-port", "65536"], "'--http-port'"),
        (["run", "--dead-letter-topic"], "'--dead-letter-topic'"),
        (["run", "--kafka-sasl-password", "x"], "--kafka-sasl-password"),
        (["reconcile", "--batch-size", "10001"], "'--batch-size'"),
        (["demo", "--http-port", "-1"], "'--http-port'"),
    ],
    ids=" ".join,
)
def test_a_wrong_value_is_wrong_usage(arguments: list[str], said: str) -> None:
    """Exit code 2, and the flag is named."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_default_does_not_hide_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a flag that stands on the command line wins."""
    seen = []
    small = typer.Typer()

    @small.command()
    @with_settings("batch_size", "lanes", "log_level")
    def _show(settings: Settings, *, word: str = "x") -> None:
        seen.append((settings.batch_size, settings.lanes, settings.log_level, word))

    monkeypatch.setenv("WEBHOOK_ROUTER_BATCH_SIZE", "7")
    monkeypatch.setenv("WEBHOOK_ROUTER_LANES", "5")
    done = CliRunner().invoke(small, ["--lanes", "2", "--log-level", "WARNING", "--word", "y"])
    assert done.exit_code == 0, done.stderr
    assert seen == [(7, 2, "warning", "y")]
    assert list(inspect.signature(_show).parameters) == ["context", "batch_size", "lanes", "log_level", "word"]
