"""An archive in a bucket of S3, or of what speaks as S3 does: each step is an object of its own for each hour."""

import base64
import hashlib
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from consumer.adapters.archive.members import packed
from consumer.adapters.archive.names import ENDING, by_file, is_ours
from consumer.domain.archives import ArchivedLine
from consumer.domain.errors import ConsumerError, Fatal, Misconfigured, Transient

SCHEME: Final = "s3://"
_ATTEMPTS: Final = 5
_CONNECT_SECONDS: Final = 10
_ANSWER_SECONDS: Final = 60
_FORBIDDEN: Final = {"AccessDenied", "Forbidden", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_MISSING: Final = {"NoSuchBucket", "NoSuchKey", "NotFound", "404", "PermanentRedirect", "301"}


class Bucket:
    """Credentials, region and endpoint are those of the process, as for any program of AWS: environment, profile, web
    identity, instance; `AWS_ENDPOINT_URL_S3` names another server."""

    def __init__(self, place: str) -> None:
        """`place`: s3://bucket or s3://bucket/prefix.

        Raises:
            Misconfigured: the place is none, or the package is missing.
        """
        parts = urlsplit(place)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
            raise Misconfigured("a bucket is named s3://bucket or s3://bucket/prefix; credentials are not part of it")
        try:
            import boto3  # noqa: PLC0415 - an extra
            import botocore.config  # noqa: PLC0415
            import botocore.exceptions  # noqa: PLC0415
        except ImportError:
            raise Misconfigured("an archive in a bucket needs a package: pip install 'webhook-router[s3]'") from None
        self.name = place.rstrip("/")
        self._bucket = parts.netloc
        prefix = parts.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._errors: Any = botocore.exceptions
        with self._translated():
            self._client: Any = boto3.session.Session().client(
                "s3",
                config=botocore.config.Config(
                    retries={"mode": "standard", "max_attempts": _ATTEMPTS},
                    connect_timeout=_CONNECT_SECONDS,
                    read_timeout=_ANSWER_SECONDS,
                    # Content-MD5 says the same, to servers that know no newer checksums as well.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )

    def check(self) -> None:
        """Asks for the bucket, so that what forbids writing shows before anything is pruned.

        Raises:
            Misconfigured: there is none, or no right to it.
            Transient: nobody answers.
        """
        with self._translated():
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    def write(self, kind: str, lines: Sequence[ArchivedLine]) -> int:
        """Writes objects; when it returns, the bucket has answered that it has them, and what it has was measured.

        Raises:
            Transient, Misconfigured, Fatal: they cannot be written; some of them may be there.
        """
        return sum(self._put(name, texts) for name, texts in by_file(kind, lines).items())

    def _put(self, name: str, texts: Sequence[bytes]) -> int:
        body = packed(b"\n".join(texts) + b"\n", len(texts))
        # In the order in which they were written, and never the name of another one, which would be overwritten.
        key = f"{self._prefix}{name}-{time.time_ns() // 1_000_000:012x}{uuid.uuid4().hex[:12]}{ENDING}"
        checksum = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        with self._translated():
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body,
                ContentMD5=checksum,  # refused where it is not what arrives
                ContentType="application/gzip",
                Metadata={"lines": str(len(texts))},
            )
            found = self._client.head_object(Bucket=self._bucket, Key=key)
        if found["ContentLength"] != len(body) or found["Metadata"].get("lines") != str(len(texts)):
            raise Fatal(f"{self.name} does not have what was written into it; nothing of this step was deleted")
        return len(texts)

    def files(self) -> Iterator[str]:
        """The names of all files of an archive, in the order of the hours; of other objects nothing is said."""
        with self._translated():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                for entry in page.get("Contents", ()):
                    if is_ours(entry["Key"]):
                        yield entry["Key"].removeprefix(self._prefix)

    def open(self, name: str) -> "Download":
        """A file of the archive, to read.

        Raises:
            Misconfigured, Transient: it cannot be read.
        """
        with self._translated():
            found = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
        return Download(found["Body"], size=found["ContentLength"], name=f"{self.name}/{name}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        errors = self._errors
        try:
            yield
        except errors.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise self._meaning(code, status) from None
        except (errors.NoCredentialsError, errors.PartialCredentialsError, errors.ProfileNotFound) as error:
            raise Misconfigured(f"{self.name}: {type(error).__name__}: are there AWS credentials?") from None
        except errors.NoRegionError:
            raise Misconfigured(f"{self.name}: no region is known; set AWS_REGION") from None
        except errors.ParamValidationError:
            raise Misconfigured(f"{self.name} is no name of a bucket with a prefix") from None
        except (errors.BotoCoreError, errors.HTTPClientError, ValueError) as error:
            if isinstance(error, ValueError):
                raise Misconfigured(f"{self.name}: the endpoint is not one: {error}") from None
            raise Transient(f"{self.name} cannot be reached: {type(error).__name__}") from None

    def _meaning(self, code: str, status: int) -> ConsumerError:
        said = f"{self.name}: the bucket answers {code or status}"
        if code in _FORBIDDEN:
            return Misconfigured(
                f"{said}; the credentials of this process need s3:ListBucket, s3:GetObject and s3:PutObject there"
            )
        if code in _MISSING:
            return Misconfigured(f"{said}; is it there, in this region?")
        if status >= 500 or status == 429 or code in {"SlowDown", "RequestTimeout", "BadDigest"}:
            return Transient(said)
        return Fatal(said)


class Download:
    """An object that is read from one end to the other."""

    def __init__(self, body: Any, *, size: int, name: str) -> None:  # noqa: ANN401 - boto3 has no types
        self._body = body
        self._left = size
        self._name = name
        self.size = size

    def read(self, size: int, /) -> bytes:
        """
        Raises:
            Transient: the connection broke.
        """
        try:
            piece: bytes = self._body.read(size) or b""
        except Exception as error:  # noqa: BLE001 - botocore's and urllib3's share no base
            raise Transient(f"{self._name} cannot be read any further: {type(error).__name__}") from None
        self._left -= len(piece)
        if not piece and self._left:
            raise Transient(f"{self._name} cannot be read any further: it ends too early")
        return piece

    def fileno(self) -> int:
        """There is none."""
        raise OSError

    def close(self) -> None:
        """Ends the connection."""
        self._body.close()
