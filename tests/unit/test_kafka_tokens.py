"""Tokens for OAUTHBEARER: where they come from, and that no message shows one."""

import asyncio
import base64
import shlex
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from consumer.adapters.kafka.options import OAuth
from consumer.adapters.kafka.tokens import NoToken, token_provider
from consumer.domain.errors import Misconfigured

SECRET = "abc.DEF_1-2~3+4/5=="


def python(code: str) -> tuple[str, ...]:
    """A command that runs this."""
    return (sys.executable, "-c", code)


class TestFile:
    async def test_it_is_read_anew_for_each_token(self, tmp_path: Path) -> None:
        """Whoever writes it may renew it, with a line feed or without."""
        file = tmp_path / "token"
        provider = token_provider(OAuth(token_file=file))
        with pytest.raises(NoToken, match=r"cannot read the token .*TOKEN_FILE\) from .*token: No such file") as caught:
            await provider.token()
        assert caught.value.lasting
        for text in ("first", SECRET):
            file.write_text(text + "\n")
            assert await provider.token() == text

    @pytest.mark.parametrize(("text", "said"), [("", "is empty"), ("secret of mine", "is no token")])
    async def test_what_is_no_token_is_named_but_not_shown(self, tmp_path: Path, text: str, said: str) -> None:
        """Its writer may be about to write it."""
        (tmp_path / "token").write_text(text)
        with pytest.raises(NoToken, match=f"TOKEN_FILE\\) {said}") as caught:
            await token_provider(OAuth(token_file=tmp_path / "token")).token()
        assert "secret" not in str(caught.value)
        assert not caught.value.lasting


class TestCommand:
    async def test_it_prints_the_token(self) -> None:
        """Without a shell: nothing in its arguments means anything."""
        command = python("import sys; print(sys.argv[1])")
        assert await token_provider(OAuth(token_command=(*command, SECRET))).token() == SECRET
        with pytest.raises(NoToken, match="is no token"):
            await token_provider(OAuth(token_command=(*command, "$(id)"))).token()

    async def test_one_that_fails_is_named_by_what_to_do(self) -> None:
        """Neither what it printed nor its arguments are shown; run by hand, as advised, it says why."""
        command = python(f"import sys; print('{SECRET}'); sys.exit('the reason')")
        with pytest.raises(NoToken, match="exit code 1; run it by hand to see why") as caught:
            await token_provider(OAuth(token_command=command)).token()
        assert SECRET not in str(caught.value)
        assert not caught.value.lasting
        by_hand = await asyncio.create_subprocess_shell(
            shlex.join(command), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        assert b"the reason" in (await by_hand.communicate())[1]

    async def test_one_that_is_missing_is_the_configuration(self) -> None:
        """It will not come by itself."""
        with pytest.raises(NoToken, match=r"cannot run the command /no/such .*No such file") as caught:
            await token_provider(OAuth(token_command=("/no/such",))).token()
        assert caught.value.lasting

    async def test_one_that_does_not_end_is_ended(self, tmp_path: Path) -> None:
        """Within its time; it leaves no process."""
        file = tmp_path / "pid"
        command = python(f"import os, time; open('{file}', 'w').write(str(os.getpid())); time.sleep(600)")
        began = time.monotonic()
        with pytest.raises(NoToken, match="does not end within 2 s"):
            await token_provider(OAuth(token_command=command, timeout=2)).token()
        assert time.monotonic() - began < 30
        if file.exists():
            assert not Path("/proc", file.read_text()).exists()


class TestMsk:
    async def test_it_is_signed_without_asking_anybody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """By the credentials in the environment, for the region."""
        pytest.importorskip("aws_msk_iam_sasl_signer")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
        token = await token_provider(OAuth(msk_region="eu-west-1")).token()
        url = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
        assert url.hostname == "kafka.eu-west-1.amazonaws.com"
        assert parse_qs(url.query)["X-Amz-Credential"][0].startswith("AKIAEXAMPLE/")

    async def test_without_credentials_it_says_so(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Nobody is asked for them on this machine."""
        pytest.importorskip("aws_msk_iam_sasl_signer")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        with pytest.raises(NoToken, match=r"MSK_REGION.*are there AWS credentials"):
            await token_provider(OAuth(msk_region="eu-west-1")).token()

    def test_a_package_that_is_missing_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the command that installs it."""
        monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
        with pytest.raises(Misconfigured, match=r"pip install 'webhook-router\[msk-iam\]'"):
            token_provider(OAuth(msk_region="eu-west-1"))
