"""The page about retention: its commands and its SQL do what it says."""

import re
import shlex

import psycopg

from tests.docs.pages import DOCS
from tests.processes import command

PAGE = (DOCS / "retention.md").read_text(encoding="utf-8")


def test_its_commands_delete_what_is_due(database: str) -> None:
    """The dry run first, and the statement that pg_cron is to run."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            """
            insert into public.webhook_events (channel, type, event_id, raw_payload, routed_at)
            select 'instagram', 'message', 'e' || i, '{"a": 1}', now() - i * interval '1 day'
            from generate_series(10, 200, 10) i
            """
        )
        (block,) = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        said = [command(*shlex.split(line)[1:], dsn=database) for line in block.splitlines()]
        assert [done.returncode for done in said] == [0, 0]
        assert said[0].stdout.startswith("18 payloads would be deleted")
        assert re.fullmatch(r"18 payloads deleted, .*\n12 events deleted, .*\n", said[1].stdout)
        connection.execute("update public.webhook_events set routed_at = routed_at - interval '85 days'")
        (statement,) = re.findall(r"\$\$(select router\.prune.*?)\$\$", PAGE)
        connection.execute(statement.encode())
        assert connection.execute("select count(*) from public.webhook_events").fetchone() == (0,)
