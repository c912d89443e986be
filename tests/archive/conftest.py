"""The server of buckets, and its address and credentials."""

import os
from collections.abc import Iterator

import pytest

from tests.archive.buckets import Server, server


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests of a module."""
    pytest.importorskip("boto3", reason="webhook-router[s3] is not installed")
    with server(tmp_path_factory.mktemp("buckets")) as running:
        yield running


@pytest.fixture
def with_credentials(buckets: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The process of the test finds the server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in buckets.environment.items():
        monkeypatch.setenv(name, value)
    return buckets
