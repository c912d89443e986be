"""Settings, read once from the environment, a .env file and the command line, and handed down frozen."""

import contextlib
import difflib
import io
import logging
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import BeforeValidator, Field, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from consumer.adapters.kafka.options import KafkaConnection, KafkaOptions
from consumer.adapters.secret_file import read_secret
from consumer.adapters.web.signatures import Access
from consumer.domain.errors import Misconfigured
from consumer.domain.providers import BOT
from consumer.domain.retention import Kind, Rule, keeping
from consumer.domain.text import printable
from consumer.kafka_config import MAY_BE_EMPTY, PASSWORDS, KafkaSettings

PREFIX = "WEBHOOK_ROUTER_"
DATABASE = {"database_url", "database_url_file"}
"""Settings of which one says where the database is."""
BOT_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")
LONG_POLL = 1.0
"""Seconds. A longer poll interval says that the database is to be left alone: some are paid for while awake."""
SHORTEST_TOKEN = 16
"""Characters of the token of the pages."""
Seconds = Annotated[float, Field(gt=0, le=86_400)]


# Kubernetes puts the addresses of a Service called webhook-router into the environment of every pod beside it.
_SERVICE_LINK = re.compile(r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_HALVES = re.compile("[\ud800-\udfff]")
# Variables with our prefix that others read: --debug, deploy/compose.yaml, the tests.
_NO_SETTINGS = re.compile(r"DEBUG|VERSION|TEST_.*")


_APP_SECRETS = "App secrets that sign its deliveries, comma-separated: several while they are changed."
_VERIFY_TOKEN = "The token that it must send for its webhook to be accepted."  # noqa: S105 - a description
_IN_A_FILE = "A file that holds the same instead."
_DAYS = re.compile(r"(\d+)\s*(?:d|days?)", re.IGNORECASE)


def _days(value: object) -> object:
    found = _DAYS.fullmatch(value.strip()) if isinstance(value, str) else None
    return found[1] if found else value


def _keeping(value: object) -> object:
    if isinstance(value, str):
        keeping(value)
        return value.strip()
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _counts(name: str, value: object) -> bool:
    """Whether a value has been given; not so an empty database URL or one of `MAY_BE_EMPTY`, nor the address of
    a Service called …-http or …-gateway."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if not isinstance(value, str):
        return value is not None
    if name in DATABASE or name in MAY_BE_EMPTY:
        return bool(value.strip())
    return not (name in {"http_port", "gateway_port"} and _SERVICE_ADDRESS.match(value))


def _trimmed(name: str, value: object) -> object:
    """Without the line feed that a value brings along from a file or a secret; a password may end in anything."""
    return value.strip() if isinstance(value, str) and name not in PASSWORDS else value


class _Given(PydanticBaseSettingsSource):
    """What another source has, without the values that do not count, so that the next source is asked for these."""

    def __init__(self, source: PydanticBaseSettingsSource) -> None:
        super().__init__(source.settings_cls)
        self._source = source

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        return {name: _trimmed(name, value) for name, value in self._source().items() if _counts(name, value)}


class ServiceSettings(BaseSettings):
    """All but Kafka's."""

    database_url: SecretStr | None = Field(
        default=None, description="libpq URL or DSN of the database; as a flag it shows in the list of processes."
    )
    database_url_file: Path | None = Field(default=None, description="A file that holds the database URL instead.")
    source: Literal["postgres", "kafka"] = Field(default="postgres", description="What wakes the service.")
    http_host: str = Field(default="127.0.0.1", description="Address of /livez, /readyz, /metrics and the pages.")
    http_port: int = Field(
        default=9464,
        ge=0,
        le=65_535,
        description="Port of /livez, /readyz, /metrics and the pages; 0 picks a free one and logs it.",
    )
    ops: bool = Field(default=True, description="Serve the pages for whoever is on call, at / of the same port.")
    ops_token: SecretStr | None = Field(
        default=None,
        description="A token that the pages ask for, of 16 characters or more; without one, only this machine is shown "
        "them.",
    )
    ops_token_file: Path | None = Field(default=None, description="A file that holds the token of the pages instead.")
    ops_actions: bool = Field(
        default=False, description="Let whoever is shown the pages retry and discard parked events."
    )
    batch_size: int = Field(default=1000, ge=1, le=10_000, description="Events that a routing call takes at most.")
    lanes: int = Field(default=2, ge=1, le=64, description="Routing calls side by side while there is a backlog.")
    poll_interval: Seconds = Field(
        default=1.0,
        description="Seconds between looks at the table while nothing rings the doorbell; "
        "above 1, nothing else is asked of an idle database more often.",
    )
    overlap: Seconds = Field(
        default=2.0, description="Seconds that a transaction may commit late without waiting for the sweep."
    )
    reconcile_interval: Seconds = Field(default=30.0, description="Seconds between sweeps of the whole table.")
    sample_interval: Seconds = Field(default=10.0, description="Seconds between counts of the backlog, at least.")
    call_timeout: Seconds = Field(default=10.0, description="Seconds after which a database call is cancelled.")
    stall_after: Seconds = Field(default=120.0, description="Seconds without progress of a loop before /livez fails.")
    shutdown_grace: Seconds = Field(default=20.0, description="Seconds that a stop waits for the batch under way.")
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="Form of the log; auto is text on a terminal and JSON elsewhere."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info", description="The least severe level that is logged."
    )
    summary_interval: Seconds = Field(default=60.0, description="Seconds between summary lines in the log.")
    gateway: bool = Field(default=False, description="Take deliveries over HTTP, as providers POST them.")
    gateway_host: str = Field(default="127.0.0.1", description="Address of /webhooks/<provider>.")
    gateway_port: int = Field(
        default=8080, ge=0, le=65_535, description="Port of /webhooks/<provider>; 0 picks a free one and logs it."
    )
    gateway_max_body_bytes: int = Field(
        default=4 * 1_048_576,
        ge=1024,
        le=64 * 1_048_576,
        description="Bytes of the largest delivery; larger ones get 413. Meta sends up to 3 MiB.",
    )
    gateway_max_in_flight: int = Field(
        default=1000, ge=1, le=100_000, description="Deliveries that may wait for their answers; others get 503."
    )
    keep_deliveries: Annotated[int, BeforeValidator(_days), Field(ge=1, le=3650)] = Field(
        default=7, description="Days that deliveries are kept as they came, for `replay`."
    )
    keep_events: Annotated[str | None, BeforeValidator(_keeping)] = Field(
        default=None,
        description="How long events are kept after they were routed, such as 90d or 12h; for ever unless given.",
    )
    keep_payloads: Annotated[str | None, BeforeValidator(_keeping)] = Field(
        default=None,
        description="How long events keep their raw_payload after they were routed; as long as the event unless given.",
    )
    whatsapp_app_secrets: SecretStr | None = Field(default=None, description=_APP_SECRETS)
    whatsapp_app_secrets_file: Path | None = Field(default=None, description=_IN_A_FILE)
    whatsapp_verify_token: SecretStr | None = Field(default=None, description=_VERIFY_TOKEN)
    whatsapp_verify_token_file: Path | None = Field(default=None, description=_IN_A_FILE)
    instagram_app_secrets: SecretStr | None = Field(default=None, description=_APP_SECRETS)
    instagram_app_secrets_file: Path | None = Field(default=None, description=_IN_A_FILE)
    instagram_verify_token: SecretStr | None = Field(default=None, description=_VERIFY_TOKEN)
    instagram_verify_token_file: Path | None = Field(default=None, description=_IN_A_FILE)
    messenger_app_secrets: SecretStr | None = Field(default=None, description=_APP_SECRETS)
    messenger_app_secrets_file: Path | None = Field(default=None, description=_IN_A_FILE)
    messenger_verify_token: SecretStr | None = Field(default=None, description=_VERIFY_TOKEN)
    messenger_verify_token_file: Path | None = Field(default=None, description=_IN_A_FILE)
    tiktok_app_secrets: SecretStr | None = Field(default=None, description=_APP_SECRETS)
    tiktok_app_secrets_file: Path | None = Field(default=None, description=_IN_A_FILE)
    telegram_bots: SecretStr | None = Field(
        default=None, description="Each bot's id and the secret token of its webhook, botid:secret, comma-separated."
    )
    telegram_bots_file: Path | None = Field(default=None, description=_IN_A_FILE)
    meta_own_app_ids: str | None = Field(
        default=None,
        description="Ids of Meta apps whose sends the application stores by itself, comma-separated: "
        "their echoes are only recorded.",
    )
    meta_own_app_ids_file: Path | None = Field(default=None, description=_IN_A_FILE)


class Settings(KafkaSettings, ServiceSettings):
    """Everything that can be set; each field is `WEBHOOK_ROUTER_<NAME>` and, in `run`, `--<name>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order of precedence; see `_Given`."""
        del dotenv_settings, file_secret_settings
        of_file = EnvSettingsSource(settings_cls)
        of_file.env_vars = _variables_of_file()
        return _Given(init_settings), _Given(env_settings), _Given(of_file)

    def database(self) -> str:
        """The database URL.

        Raises:
            Misconfigured: none is set, both are, or the file cannot be read.
        """
        if self.database_url is not None and self.database_url_file is not None:
            raise Misconfigured(f"{PREFIX}DATABASE_URL and {PREFIX}DATABASE_URL_FILE are both set; keep one of them")
        if self.database_url is not None:
            return self.database_url.get_secret_value().strip().removeprefix("\ufeff")
        if self.database_url_file is None:
            raise Misconfigured(
                f"no database given: set {PREFIX}DATABASE_URL (or {PREFIX}DATABASE_URL_FILE, or --database-url), "
                "e.g. postgresql://user:password@host:5432/database; to look around without one: webhook-router demo"
            )
        url = read_secret(self.database_url_file, what="the database URL")
        if not url:
            raise Misconfigured(f"no database given: {self.database_url_file}, which should hold its URL, is empty")
        return url

    @property
    def apart(self) -> float:
        """Seconds that an idle database is left alone, at least; 0 where its peace does not matter."""
        return self.poll_interval if self.poll_interval > LONG_POLL else 0.0

    def retention(self) -> list[Rule]:
        """What is kept for how long; empty: everything for ever.

        Raises:
            Misconfigured: payloads are to be kept for longer than their events.
        """
        rules = [
            Rule(kind=kind, keep=keeping(text))
            for kind, text in ((Kind.PAYLOADS, self.keep_payloads), (Kind.EVENTS, self.keep_events))
            if text is not None
        ]
        if len(rules) > 1 and rules[0].keep >= rules[1].keep:
            raise Misconfigured(
                f"{PREFIX}KEEP_PAYLOADS ({self.keep_payloads}) is not shorter than {PREFIX}KEEP_EVENTS "
                f"({self.keep_events}), and a payload goes with its event; set a shorter one, or leave it out"
            )
        return rules

    def kafka(self) -> tuple[KafkaConnection, KafkaOptions]:
        """How to reach Kafka, and what to read there.

        Raises:
            Misconfigured: something is missing, or does not go together.
        """
        options = self._kafka_options(sample_interval=self.sample_interval, stall_after=self.stall_after)
        return self.kafka_connection(), options

    def access(self) -> dict[str, Access]:
        """By provider, what its deliveries must show; a provider that is not configured is not in it.

        Raises:
            Misconfigured: a secret is set twice, is empty, cannot be read, or cannot be told from another bot's.
        """
        found = {}
        for provider in ("whatsapp", "instagram", "messenger", "tiktok"):
            access = Access(
                app_secrets=tuple(secret.encode() for secret in self._list_of(f"{provider}_app_secrets")),
                verify_token=None if provider == "tiktok" else self._text_of(f"{provider}_verify_token"),
            )
            if access != Access():
                found[provider] = access
        if bots := self._bots():
            found["telegram"] = Access(bots=bots)
        return found

    def token(self) -> str | None:
        """What the pages ask for; None: nothing, and they are for this machine.

        Raises:
            Misconfigured: it is set twice, is empty, is too short to be safe, has more than a line, or cannot be read.
        """
        token = self._text_of("ops_token")
        name = f"{PREFIX}OPS_TOKEN{'' if self.ops_token_file is None else '_FILE'}"
        if token is None:
            if self.ops_token is not None:
                raise Misconfigured(f"{name} is empty; unset it, or set it to what `openssl rand -hex 24` says")
            return None
        if len(token) < SHORTEST_TOKEN:
            raise Misconfigured(
                f"{name} has less than {SHORTEST_TOKEN} characters; set it to what `openssl rand -hex 24` says"
            )
        if not token.isprintable():
            raise Misconfigured(f"{name} is more than a line of text")
        return token

    def own_app_ids(self) -> frozenset[str]:
        """Meta apps whose echoes are only recorded.

        Raises:
            Misconfigured: they are set twice, or cannot be read.
        """
        return frozenset(self._list_of("meta_own_app_ids"))

    def _bots(self) -> tuple[tuple[str, bytes], ...]:
        name = f"{PREFIX}TELEGRAM_BOTS"
        bots: dict[str, str] = {}
        for pair in self._list_of("telegram_bots"):
            bot, _, secret = (part.strip() for part in pair.partition(":"))
            if not BOT.fullmatch(bot) or not BOT_SECRET.fullmatch(secret):
                raise Misconfigured(
                    f"{name}: each entry is botid:secret, an id of digits and up to 256 letters, digits, _ and -"
                )
            if bot in bots or secret in bots.values():
                raise Misconfigured(f"{name}: two entries have the same bot or the same secret, which tells bots apart")
            bots[bot] = secret
        return tuple((bot, secret.encode()) for bot, secret in bots.items())

    def _list_of(self, name: str) -> list[str]:
        """The parts of a setting between commas, or of its file, where a line may hold one as well."""
        text = self._text_of(name)
        parts = [part.strip() for part in re.split(r"[,\r\n]", text or "") if part.strip()]
        if not parts and (file := getattr(self, f"{name}_file")) is not None:
            raise Misconfigured(f"{PREFIX}{name.upper()}_FILE: {file} has nothing between its commas")
        return parts

    def _text_of(self, name: str) -> str | None:
        """What a setting says, or the file that stands for it; None if neither says anything."""
        given, file = getattr(self, name), getattr(self, f"{name}_file")
        if given is not None and file is not None:
            raise Misconfigured(
                f"{PREFIX}{name.upper()} and {PREFIX}{name.upper()}_FILE are both set; keep one of them"
            )
        if file is not None:
            text = read_secret(file, what=f"{name.replace('_', ' ')} ({PREFIX}{name.upper()}_FILE)")
            if not text:  # a provider would be left out, and nobody told
                raise Misconfigured(f"{PREFIX}{name.upper()}_FILE: {file} is empty")
            return text
        if isinstance(given, SecretStr):
            given = given.get_secret_value()
        return (given or "").strip() or None


def _variables_of_file() -> dict[str, str | None]:
    """What .env in the current folder says, by names in lower case. It may be the application's, and hold other things.

    Raises:
        Misconfigured: it cannot be read, or not as far as our variables go.
    """
    file = Path(".env")
    if not (file.is_file() or file.is_fifo()):
        return {}
    try:
        raw = file.read_bytes()
        # Some editors of Windows write UTF-16, or begin UTF-8 with a mark.
        text = raw.decode("utf-16") if raw[:2] in _UTF_16 else raw.decode("utf-8-sig", errors="surrogateescape")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Misconfigured(f"cannot read .env: {reason}") from None
    variables = {}
    for name, value in dotenv_values(stream=io.StringIO(text)).items():
        if _HALVES.search(name) or _HALVES.search(value or ""):
            if PREFIX not in name.upper():
                continue
            raise Misconfigured(f"cannot read .env: {printable(name)} is not UTF-8 text; save the file as UTF-8")
        variables[name.lower()] = value
    return variables


def load(**given: Any) -> Settings:  # noqa: ANN401 - values of the command line, checked by the model
    """The settings in force: arguments win over the environment, that over the .env file. None is no argument.

    Raises:
        Misconfigured: names each wrong setting, as it is called in the environment, and what is wrong with it.
    """
    try:
        settings = Settings(**given)
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{'_'.join(str(part) for part in problem['loc']).upper()}: {_said(problem)}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise Misconfigured(f"wrong configuration: {problems}") from None
    if arguments := {name for name in DATABASE if _counts(name, given.get(name))}:
        # An argument that says where the database is wins over the environment, whichever of the two is set there.
        settings = settings.model_copy(update=dict.fromkeys(DATABASE - arguments))
    match [name for name in ("kafka_topics", "kafka_topics_pattern") if _counts(name, given.get(name))]:  # as above
        case ["kafka_topics"]:
            settings = settings.model_copy(update={"kafka_topics_pattern": None})
        case ["kafka_topics_pattern"]:
            settings.model_fields_set.discard("kafka_topics")
    return settings


def problem(name: str, value: object) -> str | None:
    """What is wrong with a value for this setting, without the value; None when nothing is."""
    field = Settings.model_fields[name]
    try:
        TypeAdapter[Any](Annotated[field.annotation, field]).validate_python(value)  # type: ignore[arg-type]
    except ValidationError as error:
        return "; ".join(_said(problem) for problem in error.errors(include_input=False, include_url=False))
    return None


def _said(problem: ErrorDetails) -> str:
    if problem["type"] == "literal_error":
        return "must be one of " + re.sub(" or ", ", ", problem["ctx"]["expected"]).replace("'", "")
    return problem["msg"].removeprefix("Value error, ")


class _UnreadLines(logging.Handler):
    """Takes what python-dotenv logs about lines that it cannot read: it neither names the file nor says it once."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: set[int] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.numbers.update(number for number in record.args or () if isinstance(number, int))


def log_format() -> Literal["auto", "json", "text"]:
    """The form of the log that the environment asks for, whatever else is wrong in it."""
    match os.environ.get(f"{PREFIX}LOG_FORMAT", "").strip().lower():
        case "json":
            return "json"
        case "text":
            return "text"
        case _:
            return "auto"


def unknown_variables() -> list[str]:
    """A sentence for each variable, of the environment and of .env, that is named like a setting and is none.

    Also for each line of .env that is no assignment.
    """
    found = dict(EnvSettingsSource(Settings).env_vars)
    unread, logger = _UnreadLines(), logging.getLogger("dotenv.main")
    logger.handlers, logger.propagate = [unread], False
    with contextlib.suppress(Misconfigured):  # reported when a setting is needed
        found = {**_variables_of_file(), **found}
    known = [name.upper() for name in Settings.model_fields]
    sentences = [f"line {number} of .env is not NAME=value and has no effect" for number in sorted(unread.numbers)]
    for variable, value in found.items():
        name = variable.upper().removeprefix(PREFIX)
        if not variable.upper().startswith(PREFIX) or name in known or _NO_SETTINGS.fullmatch(name):
            continue
        if _SERVICE_LINK.fullmatch(name) or (name.endswith("PORT") and _SERVICE_ADDRESS.match(value or "")):
            continue
        nearest = difflib.get_close_matches(name, known, n=1)
        advice = f"is {PREFIX}{nearest[0]} meant?" if nearest else "see `webhook-router config`"
        sentences.append(f"{PREFIX}{name} is not a setting; {advice}")
    return sentences


def table(settings: Settings) -> list[tuple[str, str, str]]:
    """Name, value in force and meaning of every setting; secrets masked."""
    rows = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        shown = "" if value is None else "********" if isinstance(value, SecretStr) else str(value)
        rows.append((PREFIX + name.upper(), shown, field.description or ""))
    return rows
