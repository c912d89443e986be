"""Settings: where they come from, and what a wrong one is told."""

from pathlib import Path

import pytest

from consumer import config
from consumer.domain.errors import Misconfigured


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without .env, and no settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name, _, _ in config.table(config.Settings()):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_flags_win_over_the_environment_and_that_over_the_file(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One setting from each place."""
    (elsewhere / ".env").write_text(
        "WEBHOOK_ROUTER_BATCH_SIZE=1\nWEBHOOK_ROUTER_HTTP_PORT=1\nWEBHOOK_ROUTER_OVERLAP=1\n"
    )
    monkeypatch.setenv("WEBHOOK_ROUTER_BATCH_SIZE", "2")
    monkeypatch.setenv("WEBHOOK_ROUTER_HTTP_PORT", "2")
    settings = config.load(batch_size=3, http_port=None)
    assert (settings.batch_size, settings.http_port, settings.overlap) == (3, 2, 1)


def test_a_wrong_setting_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them at once, as they are called in the environment, without their values."""
    monkeypatch.setenv("WEBHOOK_ROUTER_BATCH_SIZE", "many")
    monkeypatch.setenv("WEBHOOK_ROUTER_LOG_LEVEL", "loud")
    with pytest.raises(
        Misconfigured, match=r"WEBHOOK_ROUTER_BATCH_SIZE: .*integer.*LOG_LEVEL: must be one of"
    ) as caught:
        config.load()
    assert "many" not in str(caught.value).replace("WEBHOOK_ROUTER", "")


def test_the_database_url_comes_from_one_place(elsewhere: Path) -> None:
    """From the variable or from a file, with a clear word when there is none, both, or no such file."""
    secret = elsewhere / "secret"
    secret.write_text("postgresql://from-file/db\n")
    assert config.load(database_url_file=secret).database() == "postgresql://from-file/db"
    assert config.load(database_url="postgresql://x/y").database() == "postgresql://x/y"
    with pytest.raises(Misconfigured, match="no database given"):
        config.load().database()
    with pytest.raises(Misconfigured, match="both set"):
        config.load(database_url="x", database_url_file=secret).database()
    with pytest.raises(Misconfigured, match="No such file"):
        config.load(database_url_file=elsewhere / "missing").database()


def test_secrets_are_masked() -> None:
    """What `config` prints has no password in it."""
    shown = str(config.table(config.load(database_url="postgresql://user:hunter2@host/db")))
    assert "hunter2" not in shown
    assert "********" in shown
