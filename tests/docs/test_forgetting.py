"""The page about forgetting: its commands do what it says."""

import re
import shlex

import psycopg

from tests.docs.pages import DOCS
from tests.processes import command

PAGE = (DOCS / "forgetting.md").read_text(encoding="utf-8")


def test_its_commands_erase_and_export(database: str) -> None:
    """The export first, since nothing is left of the person afterwards."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    erasing, exporting = ([shlex.split(line)[1:] for line in block.splitlines()] for block in blocks)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "select public.ingest_route_analyze('whatsapp', 'message', 'e', '4915112345678', 'A', 'hello', now(), '{}')"
        )
        ((*arguments, _, _),) = exporting
        exported = command(*arguments, dsn=database)
        assert exported.returncode == 0
        assert '"hello"' in exported.stdout
        would, gone = (command(*arguments, dsn=database) for arguments in erasing)
        assert (would.returncode, gone.returncode) == (0, 0)
        assert would.stdout.splitlines()[2:] == gone.stdout.splitlines()[2:]
        assert gone.stdout.splitlines()[-1].split()[0] == "all"
        assert command(*arguments, dsn=database).stdout.strip() == "{}"
