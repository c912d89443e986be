"""An archive in a bucket: what was counted is there, and whatever is wrong is said in one line."""

import gzip
import io
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumer.adapters.archive.bucket import Bucket
from consumer.adapters.archive.members import Unpacking
from consumer.adapters.archive.places import archive_at
from consumer.domain.archives import ArchivedLine as Line
from consumer.domain.errors import Fatal, Misconfigured, Transient
from tests.archive.buckets import Server
from tests.ports import free_port

NINE = datetime(2026, 1, 31, 9, tzinfo=UTC)


def lines(*texts: str, at: datetime = NINE) -> list[Line]:
    return [Line(at, text.encode()) for text in texts]


def texts_of(bucket: Bucket, name: str) -> list[str]:
    source = bucket.open(name)
    file = Unpacking(source, name=name)
    out = b""
    while piece := file.read(100):
        out += piece
    source.close()
    return out.decode().splitlines()


def test_each_step_is_an_object_for_each_hour(with_credentials: Server) -> None:
    """Named by the hour of routed_at; in the order in which they were written; none takes another one's place."""
    files = with_credentials.bucket("steps")
    bucket = archive_at("s3://steps/router/")
    assert isinstance(bucket, Bucket)
    bucket.check()
    assert list(bucket.files()) == []
    assert bucket.write("events", [*lines("a", "b"), *lines("c", at=NINE + timedelta(hours=1))]) == 3
    assert bucket.write("events", lines("d")) == 1
    assert bucket.write("payloads", lines("p")) == 1
    (files / "router" / "other.txt").write_text("of somebody")
    names = list(bucket.files())
    assert [name.rpartition("-")[0] for name in names] == [
        "2026/01/31/events-20260131T09Z", "2026/01/31/events-20260131T09Z", "2026/01/31/events-20260131T10Z",
        "2026/01/31/payloads-20260131T09Z",
    ]  # fmt: skip
    assert [texts_of(bucket, name) for name in names] == [["a", "b"], ["d"], ["c"], ["p"]]
    assert gzip.decompress((files / "router" / names[0]).read_bytes()) == b"a\nb\n"


def test_more_than_a_page_of_objects(with_credentials: Server) -> None:
    """A listing comes in pages of a thousand; all of them are read."""
    files = with_credentials.bucket("pages")
    bucket = Bucket("s3://pages")
    bucket.write("events", lines("a"))
    (name,) = bucket.files()
    for number in range(1100):
        (files / name.replace(".ndjson", f"{number:04}.ndjson")).write_bytes(b"")
    assert len(list(bucket.files())) == 1101


def test_what_does_not_arrive_is_not_counted(with_credentials: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is not what was sent is refused by the server; one that the server lost is found out."""
    with_credentials.bucket("lost")
    bucket = Bucket("s3://lost")
    client: Any = bucket._client
    put = client.put_object

    def changed(**given: Any) -> Any:
        return put(**given | {"Body": given["Body"] + b"x"})

    monkeypatch.setattr(client, "put_object", changed)
    with pytest.raises((Transient, Fatal), match="the bucket answers"):
        bucket.write("events", lines("a"))

    def shorter(**given: Any) -> Any:
        given.pop("ContentMD5")
        return put(**given | {"Body": given["Body"][:-1]})

    monkeypatch.setattr(client, "put_object", shorter)
    with pytest.raises(Fatal, match="does not have what was written into it; nothing of this step was deleted"):
        bucket.write("events", lines("a"))


@pytest.mark.parametrize("place", ["s3://", "s3:///prefix", "s3://key:secret@bucket", "s3://bucket?x=1"])
def test_a_place_that_is_none(place: str) -> None:
    """It is said how one is written, without what was given: it may hold a secret."""
    with pytest.raises(Misconfigured, match="a bucket is named s3://bucket or s3://bucket/prefix") as said:
        archive_at(place)
    assert "secret@" not in str(said.value)


def test_a_bucket_that_is_not_there(with_credentials: Server) -> None:
    """It is said before anything is read."""
    with pytest.raises(Misconfigured, match="s3://nowhere: the bucket answers NoSuchBucket; is it there"):
        Bucket("s3://nowhere").check()


def test_credentials_that_are_wrong(with_credentials: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the rights that are needed; and none at all."""
    with_credentials.bucket("closed")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(Misconfigured, match="need s3:ListBucket, s3:GetObject and s3:PutObject there"):
        Bucket("s3://closed").check()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(Misconfigured, match="are there AWS credentials"):
        Bucket("s3://closed").check()


def test_a_server_that_does_not_answer(with_credentials: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """May answer later."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("consumer.adapters.archive.bucket._ATTEMPTS", 1)
    with pytest.raises(Transient, match="s3://away cannot be reached: EndpointConnectionError"):
        Bucket("s3://away").write("events", lines("a"))


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(Misconfigured, match=r"pip install 'webhook-router\[s3\]'"):
        archive_at("s3://bucket")


def test_a_download_that_ends_too_early(with_credentials: Server) -> None:
    """Is no end of the file."""
    with_credentials.bucket("early")
    bucket = Bucket("s3://early")
    bucket.write("events", lines("a"))
    (name,) = bucket.files()
    source = bucket.open(name)
    source._body = io.BytesIO(source.read(10))
    assert source.read(10)
    with pytest.raises(Transient, match="it ends too early"):
        source.read(10)
