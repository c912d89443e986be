"""Settings: where they come from, and what a wrong one is told."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

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


def test_an_argument_says_where_the_database_is(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wins over the environment, whichever of the two settings it is and whichever is set there."""
    secret, other = elsewhere / "secret", elsewhere / "other"
    secret.write_text("postgresql://from-file/db")
    other.write_text("postgresql://other-file/db")
    monkeypatch.setenv("WEBHOOK_ROUTER_DATABASE_URL_FILE", str(other))
    assert config.load(database_url="postgresql://x/y").database() == "postgresql://x/y"
    assert config.load(database_url="").database() == "postgresql://other-file/db"
    monkeypatch.setenv("WEBHOOK_ROUTER_DATABASE_URL", "postgresql://environment/db")
    assert config.load(database_url="postgresql://x/y").database() == "postgresql://x/y"
    assert config.load(database_url_file=secret).database() == "postgresql://from-file/db"
    with pytest.raises(Misconfigured, match="both set"):
        config.load().database()


def test_secrets_are_masked() -> None:
    """What `config` prints has no password in it."""
    shown = str(config.table(config.load(database_url="postgresql://user:hunter2@host/db")))
    assert "hunter2" not in shown
    assert "********" in shown


EMPTY = ["", "  ", "\n"]


@pytest.mark.parametrize("empty", EMPTY, ids=repr)
def test_an_empty_database_url_is_none(empty: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it stands, the next place is asked; libpq's defaults are nobody's choice."""
    for given in ({}, {"database_url": empty}, {"database_url_file": empty}):
        with pytest.raises(Misconfigured, match="no database given"):
            config.load(**given).database()
    with pytest.raises(Misconfigured, match="no database given"):
        config.Settings(database_url=SecretStr(empty)).database()
    (elsewhere / ".env").write_text("WEBHOOK_ROUTER_DATABASE_URL=postgresql://file/db\n")
    monkeypatch.setenv("WEBHOOK_ROUTER_DATABASE_URL", empty)
    assert config.load(database_url=empty).database() == "postgresql://file/db"
    (elsewhere / ".env").write_text(f"WEBHOOK_ROUTER_DATABASE_URL='{empty}'\n")
    secret = elsewhere / "secret"
    secret.write_text(empty)
    with pytest.raises(Misconfigured, match=r"no database given: .*secret, which should hold its URL, is empty"):
        config.load(database_url_file=secret).database()
    secret.write_text("postgresql://secret/db")
    assert config.load(database_url_file=secret).database() == "postgresql://secret/db"


def test_a_variable_that_is_no_setting_is_named(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment and of .env, with the nearest setting, and never with its value."""
    (elsewhere / ".env").write_text("WEBHOOK_ROUTER_LANE=hunter2\nOTHER=1\nWEBHOOK_ROUTER_LANES=3\n")
    monkeypatch.setenv("WEBHOOK_ROUTER_BATCHSIZE", "hunter2")
    monkeypatch.setenv("WEBHOOK_ROUTER_QQ", "hunter2")
    monkeypatch.setenv("WEBHOOK_ROUTER_PORT", "9464")
    assert sorted(config.unknown_variables()) == [
        "WEBHOOK_ROUTER_BATCHSIZE is not a setting; is WEBHOOK_ROUTER_BATCH_SIZE meant?",
        "WEBHOOK_ROUTER_LANE is not a setting; is WEBHOOK_ROUTER_LANES meant?",
        "WEBHOOK_ROUTER_PORT is not a setting; is WEBHOOK_ROUTER_HTTP_PORT meant?",
        "WEBHOOK_ROUTER_QQ is not a setting; see `webhook-router config`",
    ]


def test_a_line_that_is_no_assignment_is_named_once(elsewhere: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By its number and never with its text; the other lines count."""
    (elsewhere / ".env").write_text("WEBHOOK_ROUTER_LANES=3\nhunter2 is no setting\n")
    assert config.unknown_variables() == ["line 2 of .env is not NAME=value and has no effect"]
    assert config.load().lanes == 3
    assert not caplog.records


URL = "postgresql://u:pä@h/db"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_of_the_file(elsewhere: Path, encoding: str, end: str) -> None:
    """Editors of Windows write marks at the beginning, and UTF-16: the first variable counts as well."""
    text = f"WEBHOOK_ROUTER_DATABASE_URL={URL}{end}WEBHOOK_ROUTER_LANES=3{end}"
    (elsewhere / ".env").write_bytes(text.encode(encoding))
    settings = config.load()
    assert (settings.database(), settings.lanes) == (URL, 3)
    assert config.unknown_variables() == []


def test_what_others_write_into_the_file(elsewhere: Path) -> None:
    """A comment or a variable of the application in another encoding is no obstacle; one of ours is named."""
    (elsewhere / ".env").write_bytes("# schön\nOTHER=schön\nWEBHOOK_ROUTER_LANES=3\n".encode("latin-1"))
    assert config.load().lanes == 3
    assert config.unknown_variables() == []
    (elsewhere / ".env").write_bytes(f"A=1\nWEBHOOK_ROUTER_DATABASE_URL={URL}\n".encode("latin-1"))
    assert config.unknown_variables() == []
    with pytest.raises(
        Misconfigured, match=r"^cannot read \.env: WEBHOOK_ROUTER_DATABASE_URL is not UTF-8 text"
    ) as caught:
        config.load()
    assert "p\udce4" not in str(caught.value)
    (elsewhere / ".env").write_bytes(b"\xff\xfeA")
    with pytest.raises(Misconfigured, match="not UTF-8 text"):
        config.load()


@pytest.mark.parametrize("written", [f"{URL}\n", f"\ufeff{URL}\r\n", f"  {URL}  \n\n"])
def test_white_space_around_a_database_url(elsewhere: Path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    """Files, secrets and `$(cat …)` bring line feeds along, and some editors a mark."""
    file = elsewhere / "url"
    file.write_bytes(written.encode())
    assert config.load(database_url_file=file).database() == URL
    monkeypatch.setenv("WEBHOOK_ROUTER_DATABASE_URL_FILE", f"{file}\n")
    assert config.load().database() == URL
    monkeypatch.delenv("WEBHOOK_ROUTER_DATABASE_URL_FILE")
    monkeypatch.setenv("WEBHOOK_ROUTER_DATABASE_URL", written)
    assert config.load().database() == URL
    assert config.load(database_url=written).database() == URL


SERVICE_LINKS = {
    "SERVICE_HOST": "10.0.0.1",
    "SERVICE_PORT": "9464",
    "SERVICE_PORT_METRICS": "9464",
    "PORT": "tcp://10.0.0.1:9464",
    "PORT_9464_TCP": "tcp://10.0.0.1:9464",
    "PORT_9464_TCP_PROTO": "tcp",
    "PORT_9464_TCP_PORT": "9464",
    "PORT_9464_TCP_ADDR": "10.0.0.1",
    "HTTP_SERVICE_HOST": "10.0.0.1",
    "HTTP_PORT": "tcp://10.0.0.1:9464",
    "HTTP_PORT_9464_TCP_ADDR": "10.0.0.1",
}
"""What Kubernetes tells every pod about Services called webhook-router and webhook-router-http."""


def test_variables_of_others_are_left_alone(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of Kubernetes, of --debug and of the tests are neither named nor taken for settings."""
    for name, value in SERVICE_LINKS.items():
        monkeypatch.setenv(f"WEBHOOK_ROUTER_{name}", value)
    monkeypatch.setenv("WEBHOOK_ROUTER_DEBUG", "1")
    monkeypatch.setenv("WEBHOOK_ROUTER_TEST_PG_MAJOR", "15")
    assert config.unknown_variables() == []
    assert config.load() == config.Settings.model_construct()


def test_who_may_post(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets from variables or files, several where they are changed; a provider without any is not there."""
    assert config.load().access() == {}
    file = elsewhere / "secrets"
    file.write_text("old, new\n")
    monkeypatch.setenv("WEBHOOK_ROUTER_WHATSAPP_APP_SECRETS_FILE", str(file))
    monkeypatch.setenv("WEBHOOK_ROUTER_WHATSAPP_VERIFY_TOKEN", " tok\n")
    monkeypatch.setenv("WEBHOOK_ROUTER_INSTAGRAM_APP_SECRETS", " , ")
    monkeypatch.setenv("WEBHOOK_ROUTER_TELEGRAM_BOTS", "700001:hunter1, 700002:hunter2")
    monkeypatch.setenv("WEBHOOK_ROUTER_META_OWN_APP_IDS", "1, 2")
    settings = config.load()
    access = settings.access()
    assert set(access) == {"whatsapp", "telegram"}
    assert (access["whatsapp"].app_secrets, access["whatsapp"].verify_token) == ((b"old", b"new"), "tok")
    assert access["telegram"].bots == (("700001", b"hunter1"), ("700002", b"hunter2"))
    assert settings.own_app_ids() == {"1", "2"}
    shown = str(config.table(settings))
    assert "hunter" not in shown
    assert "tok'" not in shown


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TELEGRAM_BOTS", "700001", "botid:secret"),
        ("TELEGRAM_BOTS", "700001:hunter2!", "botid:secret"),
        ("TELEGRAM_BOTS", "1:hunter2,2:hunter2", "the same bot or the same secret"),
        (
            "WHATSAPP_APP_SECRETS_FILE",
            "missing",
            r"\(WEBHOOK_ROUTER_WHATSAPP_APP_SECRETS_FILE\) from missing: No such file",
        ),
        ("META_OWN_APP_IDS_FILE", "missing", "No such file"),
        ("MESSENGER_APP_SECRETS_FILE", os.devnull, "WEBHOOK_ROUTER_MESSENGER_APP_SECRETS_FILE: /dev/null is empty"),
    ],
)
def test_wrong_secrets_are_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """Before anything is started."""
    monkeypatch.setenv(f"WEBHOOK_ROUTER_{name}", value)
    settings = config.load()
    with pytest.raises(Misconfigured, match=said) as caught:
        _ = settings.access(), settings.own_app_ids()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("written", ["old,new", "old\nnew\n", "old,\r\nnew\r\n", "\n old , , new"])
def test_secrets_on_lines_of_their_own(elsewhere: Path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    """A file may have one a line, as a file of secrets is written while one takes over from the other."""
    (elsewhere / "secrets").write_text(written)
    monkeypatch.setenv("WEBHOOK_ROUTER_MESSENGER_APP_SECRETS_FILE", str(elsewhere / "secrets"))
    assert config.load().access()["messenger"].app_secrets == (b"old", b"new")


def test_a_file_without_a_secret_in_it(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider would be left out, and nobody told."""
    (elsewhere / "secrets").write_text(",\n,")
    monkeypatch.setenv("WEBHOOK_ROUTER_MESSENGER_APP_SECRETS_FILE", str(elsewhere / "secrets"))
    with pytest.raises(Misconfigured, match=r"MESSENGER_APP_SECRETS_FILE: .*secrets has nothing between its commas"):
        config.load().access()


def test_a_secret_in_two_places(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not guessed which one counts."""
    monkeypatch.setenv("WEBHOOK_ROUTER_TIKTOK_APP_SECRETS", "a")
    monkeypatch.setenv("WEBHOOK_ROUTER_TIKTOK_APP_SECRETS_FILE", str(elsewhere / "b"))
    with pytest.raises(Misconfigured, match=r"TIKTOK_APP_SECRETS and .*TIKTOK_APP_SECRETS_FILE are both set"):
        config.load().access()


@pytest.mark.parametrize(("written", "days"), [("3", 3), ("3d", 3), ("30 days", 30), (" 1 day ", 1)])
def test_how_long_deliveries_are_kept(monkeypatch: pytest.MonkeyPatch, written: str, days: int) -> None:
    """A number of days, with or without the word."""
    monkeypatch.setenv("WEBHOOK_ROUTER_KEEP_DELIVERIES", written)
    assert config.load().keep_deliveries == days
