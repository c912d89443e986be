"""Settings, read once from the environment, a .env file and the command line, and handed down frozen."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from consumer.domain.errors import Misconfigured

PREFIX = "WEBHOOK_ROUTER_"
Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _known_level(value: str) -> str:
    if value.lower() not in {"debug", "info", "warning", "error"}:
        msg = "must be one of debug, info, warning, error"
        raise ValueError(msg)
    return value.lower()


class Settings(BaseSettings):
    """Everything that can be set; each field is `WEBHOOK_ROUTER_<NAME>` and, in `run`, `--<name>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    database_url: SecretStr | None = Field(default=None, description="libpq URL or DSN of the database")
    database_url_file: Path | None = Field(default=None, description="a file that holds the database URL instead")
    source: Literal["postgres", "kafka"] = Field(default="postgres", description="what wakes the service")
    http_host: str = Field(default="127.0.0.1", description="address of /livez, /readyz and /metrics")
    http_port: int = Field(default=9464, ge=0, le=65_535, description="its port; 0 picks a free one and logs it")
    batch_size: int = Field(default=1000, ge=1, le=10_000, description="events a routing call takes at most")
    lanes: int = Field(default=2, ge=1, le=64, description="routing calls side by side while there is a backlog")
    poll_interval: Seconds = Field(default=1.0, description="seconds between looks while nothing rings the doorbell")
    overlap: Seconds = Field(
        default=2.0, description="seconds a transaction may commit late without waiting for the sweep"
    )
    reconcile_interval: Seconds = Field(default=30.0, description="seconds between sweeps of the whole table")
    sample_interval: Seconds = Field(default=10.0, description="seconds between counts of the backlog, at least")
    call_timeout: Seconds = Field(default=30.0, description="seconds after which a database call is cancelled")
    stall_after: Seconds = Field(default=120.0, description="seconds without progress of a loop before /livez fails")
    shutdown_grace: Seconds = Field(default=20.0, description="seconds a stop waits for the batch under way")
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="auto: readable on a terminal, JSON elsewhere"
    )
    log_level: Annotated[str, AfterValidator(_known_level)] = Field(
        default="info", description="debug, info, warning or error"
    )
    summary_interval: Seconds = Field(default=60.0, description="seconds between summary lines in the log")

    def database(self) -> str:
        """The database URL.

        Raises:
            Misconfigured: none is set, both are, or the file cannot be read.
        """
        if self.database_url is not None and self.database_url_file is not None:
            raise Misconfigured(f"{PREFIX}DATABASE_URL and {PREFIX}DATABASE_URL_FILE are both set; keep one of them")
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        if self.database_url_file is None:
            raise Misconfigured(
                f"no database given: set {PREFIX}DATABASE_URL (or {PREFIX}DATABASE_URL_FILE, or --database-url), "
                "e.g. postgresql://user:password@host:5432/database; to look around without one: webhook-router demo"
            )
        try:
            return self.database_url_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise Misconfigured(f"cannot read the database URL from {self.database_url_file}: {reason}") from None


def load(**given: Any) -> Settings:  # noqa: ANN401 - values of the command line, checked by the model
    """The settings in force; arguments that are not None win over the environment, that over the .env file.

    Raises:
        Misconfigured: names each wrong setting, as it is called in the environment, and what is wrong with it.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{'_'.join(str(part) for part in problem['loc']).upper()}: "
            f"{re.sub('^Value error, ', '', problem['msg'])}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise Misconfigured(f"wrong configuration: {problems}") from None


def table(settings: Settings) -> list[tuple[str, str, str]]:
    """Name, value in force and meaning of every setting; secrets masked."""
    rows = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        shown = "" if value is None else "********" if isinstance(value, SecretStr) else str(value)
        rows.append((PREFIX + name.upper(), shown, field.description or ""))
    return rows
