"""Splitting SQL files into statements."""

import re

import pytest

from consumer.adapters.postgres.migrations.sql_files import SHIPPED
from consumer.adapters.postgres.scripts.statements import split_statements


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        ("  -- nothing; here\n /* nor; /* deeper; */ here; */ ;; ", []),
        ("select 1", ["select 1"]),
        ("select 1; select 2;", ["select 1", "select 2"]),
        ("select ';', 'it''s;', \";\" ; select 2", ["select ';', 'it''s;', \";\"", "select 2"]),
        (r"select E'\';', e'\\'; select '\'; select 3", [r"select E'\';', e'\\'", r"select '\'", "select 3"]),
        ("do $$ begin; end $$; select 2", ["do $$ begin; end $$", "select 2"]),
        ("do $a$ $b$; $$; $a$; select 2", ["do $a$ $b$; $$; $a$", "select 2"]),
        ("select $1; select a$b$c; select 3", ["select $1", "select a$b$c", "select 3"]),
        ("select 1 -- don't;\n+ 1; select 2", ["select 1 -- don't;\n+ 1", "select 2"]),
        ("select 1 /* it's; */; select 2", ["select 1 /* it's; */", "select 2"]),
        ("select 'unfinished; select 2", ["select 'unfinished", "select 2"]),
    ],
)
def test_only_a_real_semicolon_ends_a_statement(script: str, statements: list[str]) -> None:
    """Not one in a string, a name, a comment or a dollar quote."""
    assert [statement.text for statement in split_statements(script)] == statements


def test_gexec_marks_what_generates_statements() -> None:
    r"""As in psql, a line with \gexec ends a statement whose results are to be run."""
    found = list(split_statements("select 1;\n\nselect 'select 2'\n  \\gexec\nselect 3"))
    assert [(statement.text, statement.line, statement.generates) for statement in found] == [
        ("select 1", 1, False),
        ("select 'select 2'", 3, True),
        ("select 3", 5, False),
    ]


def test_the_files_of_this_release_split_into_whole_statements() -> None:
    """Each begins as a statement begins, not in the middle of a function."""
    texts = [file.text for file in [*SHIPPED.migrations(), *SHIPPED.functions(), SHIPPED.rights()]]
    for statement in (statement for text in texts for statement in split_statements(text)):
        code = re.sub(r"^(--[^\n]*\n|\s)+", "", statement.text)
        starts = {"alter", "comment", "create", "do", "drop", "grant", "insert", "revoke", "select"}
        assert code.split()[0].lower() in starts
