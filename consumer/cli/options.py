"""Options that commands share. The flag of a setting gets its name, text, type and limits from the setting."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Concatenate, Final, Literal

import typer
from pydantic import SecretStr

from consumer import config
from consumer.adapters.kafka.options import KafkaConnection
from consumer.config import Settings
from consumer.domain.errors import Misconfigured
from consumer.domain.providers import BOT

_SECRET: Final = SecretStr | None
FLAGS: Final = tuple(
    name for name, field in Settings.model_fields.items() if field.annotation != _SECRET or name == "database_url"
)
"""Settings with a flag: all but passwords, which a command line would show to every user of the machine."""
CONNECTION: Final = tuple(
    name
    for name in FLAGS
    if name.startswith(("kafka_sasl_", "kafka_ssl_"))
    or (name.startswith("kafka_") and name.removeprefix("kafka_") in KafkaConnection.__dataclass_fields__)
)
"""Those of FLAGS that say how to reach the brokers, for commands that read no topic."""
_ALIASES: Final = {"kafka_dead_letter_topic": ["--dead-letter-topic"]}
_ANY_CASE: Final = {"log_level"}


def flag(name: str) -> Any:  # noqa: ANN401 - as typer.Option, whose result stands for a value of any type
    """The flag of a setting, for the signature of a command."""

    def checked(value: Any) -> Any:  # noqa: ANN401 - of the setting's type
        if value is not None and (problem := config.problem(name, value)):
            raise typer.BadParameter(problem)
        return value

    written = name.replace("_", "-")
    is_on = Settings.model_fields[name].default is True
    return typer.Option(
        f"--{written}/--no-{written}" if is_on else f"--{written}",
        *_ALIASES.get(name, []),
        help=Settings.model_fields[name].description,
        callback=checked,
        case_sensitive=name not in _ANY_CASE,
    )


def with_settings(
    *names: str,
) -> Callable[[Callable[Concatenate[Settings, ...], None]], Callable[..., None]]:
    """Gives a command the flags of these settings; it is called with the settings that are in force."""

    def decorated(command: Callable[Concatenate[Settings, ...], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(context: typer.Context, **values: Any) -> None:  # noqa: ANN401 - of the options' types
            flags = {name: values.pop(name) for name in names}
            given = {name: value for name, value in flags.items() if _is_given(context, name)}
            command(config.load(**given), **values)

        _, *own = inspect.signature(command).parameters.values()
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [context, *(_parameter(name) for name in names), *own]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # what typer reads
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorated


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether a flag stands on the command line; its default must not hide what the environment says."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _parameter(name: str) -> inspect.Parameter:
    field = Settings.model_fields[name]
    kind = str | None if field.annotation == _SECRET else field.annotation
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=Annotated[kind, flag(name)]
    )


def add_command(app: typer.Typer, name: str, command: Callable[..., None]) -> None:
    """Adds a command; the list of commands shows the first line of its docstring, which typer would cut off."""
    summary, *_ = (inspect.getdoc(command) or "").splitlines()
    app.command(name, short_help=summary.rstrip("."))(command)


DatabaseUrl = Annotated[str | None, flag("database_url")]
Provider = Literal["whatsapp", "instagram", "messenger", "telegram", "tiktok"]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def database(given: str | None) -> str:
    """The database of the command line, or else of the configuration.

    Raises:
        Misconfigured: there is none, or the configuration is wrong.
    """
    return config.load(database_url=given).database()


def check_account(provider: str, account: str | None) -> None:
    """Whether the bot that bodies of Telegram are for is named, and for no other provider.

    Raises:
        Misconfigured: it is not so.
    """
    if provider == "telegram":
        if not account:
            raise Misconfigured("a body of Telegram does not name the bot that it is for; give its id by --account")
        if not BOT.fullmatch(account):
            raise Misconfigured("--account must be the id of a bot: the digits in front of the colon in its token")
    elif account is not None:
        raise Misconfigured(f"--account is for Telegram; a body of {provider} names the account that it is for")
