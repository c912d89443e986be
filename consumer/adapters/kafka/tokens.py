"""Tokens for OAUTHBEARER: from a file, from a command, or signed for Amazon MSK."""

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from consumer.adapters.kafka.options import SETTING, OAuth
from consumer.adapters.secret_file import read_secret
from consumer.domain.errors import Misconfigured

TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""RFC 6750."""
LONGEST = 1024 * 1024


class NoToken(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """There is none to show: aiokafka takes it for a broker that cannot be reached, and goes on to the next one."""

    def __init__(self, reason: str, *, lasting: bool) -> None:
        """`lasting`: it will not get better by itself. The reason never holds what may be a token."""
        super().__init__(reason)
        self.reason = reason
        self.lasting = lasting


def token_provider(oauth: OAuth) -> AbstractTokenProvider:
    """What aiokafka asks for a token each time that it connects.

    Raises:
        Misconfigured: the package that signs for MSK is not installed.
    """
    if oauth.token_file is not None:
        return _OfFile(oauth.token_file)
    if oauth.token_command is not None:
        return _OfCommand(oauth.token_command, oauth.timeout)
    assert oauth.msk_region is not None, "one of them is set"
    return _OfMsk(oauth.msk_region)


class _OfFile(AbstractTokenProvider):  # type: ignore[misc]
    def __init__(self, file: Path) -> None:
        self._file = file

    async def token(self) -> str:
        try:
            text = read_secret(self._file, what=f"the token ({SETTING}SASL_OAUTH_TOKEN_FILE)")
        except Misconfigured as error:
            raise NoToken(str(error), lasting=True) from None
        return _checked(text, f"{self._file} ({SETTING}SASL_OAUTH_TOKEN_FILE)")


class _OfCommand(AbstractTokenProvider):  # type: ignore[misc]
    def __init__(self, command: tuple[str, ...], timeout: float) -> None:
        self._command = command
        self._timeout = timeout

    async def token(self) -> str:
        # Its arguments are not named: one may be a secret.
        named = f"the command {self._command[0]} ({SETTING}SASL_OAUTH_TOKEN_COMMAND)"
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise NoToken(f"cannot run {named}: {error.strerror or error}", lasting=True) from None
        try:
            async with asyncio.timeout(self._timeout):
                said, _ = await process.communicate()
        except TimeoutError:
            raise NoToken(f"{named} does not end within {self._timeout:g} s", lasting=False) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            raise NoToken(
                f"{named} fails with exit code {process.returncode}; run it by hand to see why", lasting=False
            )
        return _checked(said[:LONGEST].decode("utf-8", errors="replace").strip(), f"what {named} prints")


class _OfMsk(AbstractTokenProvider):  # type: ignore[misc]
    """Signs with the AWS credentials that botocore finds: environment, profile, web identity, instance."""

    def __init__(self, region: str) -> None:
        try:
            from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415 - an extra
        except ImportError:
            raise Misconfigured(
                f"kafka: {SETTING}SASL_OAUTH_MSK_REGION needs a package: pip install 'webhook-router[msk-iam]'"
            ) from None
        self._region = region
        self._sign: Callable[[str], tuple[str, int]] = MSKAuthTokenProvider.generate_auth_token

    async def token(self) -> str:
        try:
            token, _ = await asyncio.to_thread(self._sign, self._region)
        except Exception as error:  # noqa: BLE001 - botocore has dozens, and they share no base with the signer's
            raise NoToken(
                f"no token for MSK ({SETTING}SASL_OAUTH_MSK_REGION): {type(error).__name__}; "
                "are there AWS credentials?",
                lasting=False,
            ) from None
        return token


def _checked(text: str, where: str) -> str:
    if not TOKEN.fullmatch(text):
        said = "is no token" if text else "is empty"
        raise NoToken(f"{where} {said}", lasting=False)
    return text
