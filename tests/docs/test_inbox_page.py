"""The page about the rows of an inbox: its queries run, and the tables and columns that it names are there."""

import re
from collections.abc import Iterator

import pytest

from tests.docs.pages import DOCS, read
from tests.sql.inbox import Inbox
from tests.sql.taking import line, take

PAGE = read(DOCS / "intake" / "inbox.md")
QUERIES = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
REQUESTS = re.findall(r"^GET /(\w+)\?select=([^\s&]+)", PAGE, re.MULTILINE)
TABLES = ("messages", "message_delivery", "message_reactions", "message_revisions")

COLUMNS = """
select attname from pg_catalog.pg_attribute
where attrelid = pg_catalog.to_regclass('public.' || %s) and attnum > 0 and not attisdropped
"""


@pytest.fixture
def inbox(database: str) -> Iterator[Inbox]:
    """A database in which one message has been delivered and liked."""
    with Inbox(database) as opened:
        assert take(opened, line("m1", author_name="Ana")) == []
        opened.run("update messages set direction = 'outbound'")
        opened.run("insert into message_delivery (message_id, status, read_at) select id, 'read', now() from messages")
        opened.run(
            "insert into message_reactions (message_id, actor, emoji, reacted_at, ord) "
            "select id, a, e, now(), 'x' from messages, (values ('p1', array['+1']), ('p2', '{}')) r (a, e)"
        )
        yield opened


def columns(inbox: Inbox, table: str) -> set[str]:
    """The columns of a table of the application; none if there is no such table."""
    return set(inbox.column(COLUMNS, table))


def test_the_two_queries(inbox: Inbox) -> None:
    """The first one lists the open conversations, the second one shows a message with its status and its reactions."""
    conversations, messages = QUERIES
    (conversation,) = inbox.rows(conversations)
    assert (conversation["account_id"], conversation["full_name"], conversation["owner"]) == ("acc", "Ana", None)
    (message,) = inbox.rows(messages.replace(":'conversation'", "%s"), conversation["id"])
    assert (message["status"], message["content_text"]) == ("read", "text of m1")
    assert message["reactions"] == {"p1": ["+1"]}


@pytest.mark.parametrize("table", TABLES)
def test_columns_of_tables_are_there(inbox: Inbox, table: str) -> None:
    """What the section of a table calls its columns are columns."""
    section = PAGE.partition(f"\n## `{table}`\n")[2].partition("\n## ")[0].partition("key of `metadata`")[0]
    assert section
    # The first column of a table of the page, or the list of columns that a sentence has after its colon.
    told = [re.findall(r"`(\w+)`", row) for row in re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)]
    told += [re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", section))] if not told else []
    named = {name for row in told for name in row} - {"messages"}
    assert named
    assert named <= columns(inbox, table)


def test_what_is_new_elsewhere_is_there(inbox: Inbox) -> None:
    """Each `table.column` that the page names exists."""
    named = re.findall(r"`(conversations|contact_channels|webhook_events|messages|contacts)\.(\w+)`", PAGE)
    assert len(named) >= len(("account_id", "metadata", "channel_conversation_id", "metadata", "normalized"))
    for table, column in named:
        assert column in columns(inbox, table), f"{table}.{column}"


def test_requests_to_postgrest(inbox: Inbox) -> None:
    """Tables and columns of the requests exist, and what is embedded is found by exactly one foreign key."""
    assert [table for table, _ in REQUESTS] == ["conversations", "messages", "message_revisions"]
    for table, selected in REQUESTS:
        for other, inner in re.findall(r"(\w+)\(([^)]*)\)", selected):
            assert set(inner.split(",")) <= columns(inbox, other)
            keys = inbox.column(
                "select conname from pg_catalog.pg_constraint where contype = 'f' and "
                "(conrelid, confrelid) in ((%s::regclass, %s::regclass), (%s::regclass, %s::regclass))",
                *(table, other, other, table),
            )
            assert len(keys) == 1, f"{table} and {other}: {keys}"
        plain = set(re.sub(r"\w+\([^)]*\)", "", selected).split(",")) - {"", "*"}
        assert plain <= columns(inbox, table)


@pytest.mark.parametrize("table", TABLES[1:])
def test_readers_are_those_of_messages(inbox: Inbox, table: str) -> None:
    """Row level security is on, and whoever may select messages may select these, as the page says."""
    assert inbox.value("select relrowsecurity from pg_catalog.pg_class where oid = %s::regclass", table)
    who = "select r from unnest(array['anon', 'authenticated']) r where to_regrole(r) is not null and "
    readers = [inbox.column(f"{who} has_table_privilege(r, %s, 'select')", name) for name in (table, "messages")]
    assert readers[0] == readers[1]
