"""A server that speaks as S3 does, of this checkout's tools."""

import contextlib
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.tools import tool
from tests.ports import free_port
from tests.waiting import wait_for

KEY, SECRET = "tester", "not-a-secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a client needs, and where the objects lie as files."""

    port: int
    files: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """As a process finds its credentials."""
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def bucket(self, name: str) -> Path:
        """Makes a bucket; the folder of its objects."""
        (self.files / name).mkdir()
        return self.files / name


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Server]:
    """Runs one on a folder, of a file system with extended attributes."""
    port = free_port()
    files = folder / "objects"
    files.mkdir()
    command = [tool("versitygw"), "--port", f"127.0.0.1:{port}", "posix", str(files)]
    environment = {**os.environ, "ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: _answers(port), what="the server of buckets")
        yield Server(port=port, files=files)
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
