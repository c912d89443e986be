"""`webhook-router sql`: scripts where there is no psql."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from consumer.adapters.shipped_files import schemas_folder
from consumer.domain.errors import Fatal, Misconfigured
from consumer.embedded_postgres.server import EmbeddedPostgres
from tests.cli import Ran, run
from tests.processes import clean_environment, command
from tests.waiting import PATIENCE


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., str]:
    def write(text: str, name: str = "script.sql") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def sql(empty_database: str, script: Callable[..., str]) -> Callable[[str], Ran]:
    return lambda text: run(empty_database, "sql", script(text))


@pytest.fixture
def harmless_sql(postgres_server: EmbeddedPostgres, script: Callable[..., str]) -> Callable[[str], Ran]:
    """For scripts that leave nothing behind."""
    return lambda text: run(postgres_server.dsn(), "sql", script(text))


def test_every_result_is_printed(harmless_sql: Callable[[str], Ran]) -> None:
    """Rows as a table, in the order of the statements; what has no rows by its tag; notices apart."""
    done = harmless_sql(
        r"""\set ON_ERROR_STOP on
        -- a comment; with a semicolon
        create temp table t (n int, text text);
        insert into t values (1, 'it''s; "fine"'), (20, null), (3, E'a\nb\x1b[31m');
        select n, text from t order by n;
        do $$ begin raise notice 'hello %', 100; end $$;
        select '50%' as share, ':x' as colon where false;
        """
    )
    assert done.code == 0
    assert done.err == "NOTICE:  hello 100\n"
    assert done.out.splitlines() == [
        "CREATE TABLE",
        "INSERT 0 3",
        " n  |     text",
        "----+--------------",
        '  1 | it\'s; "fine"',
        "  3 | a           +",
        "    | b\\x1b[31m",
        " 20 | null",
        "(3 rows)",
        "",
        "DO",
        " share | colon",
        "-------+-------",
        "(0 rows)",
        "",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("select 1;\n\n-- here\nselect *\nfrom nix\nwhere true;", 'line 5: relation "nix" does not exist [42P01]'),
        ("selec 1;", 'line 1: syntax error at or near "selec" [42601]'),
        (
            "select 1;\n\ndo $$ begin\n  raise exception 'bad %', 1 using hint = 'h', detail = 'd';\nend $$;",
            "line 3: bad 1 [P0001]; detail: d; hint: h; at: PL/pgSQL function inline_code_block line 2 at RAISE",
        ),
        ("select 1;\ncopy pg_class to stdout;", "line 2: copy from stdin or to stdout: that is psql's own language"),
        ("create temp table t (n int);\ncopy t from stdin;\n1\n\\.\n", "line 2: copy from stdin or to stdout"),
        ("\n\\echo hello\nselect 1;", "line 2: \\echo hello: that is psql's own language; run this file with psql -f"),
        ("select 1 as a\n\\gset\n", "line 2: syntax error at or near"),
    ],
)
def test_an_error_says_where_it_is(harmless_sql: Callable[[str], Ran], text: str, said: str) -> None:
    """File, line, message, hint; on one line."""
    done = harmless_sql(text)
    assert done.code == 1
    assert isinstance(done.error, Fatal)
    assert f"script.sql, {said}" in str(done.error)
    assert "\n" not in str(done.error)


def test_it_stops_at_the_first_error(sql: Callable[[str], Ran], empty_database: str) -> None:
    """As psql does: what was committed before stays, what comes after is not run."""
    done = sql("create table before (n int); insert into nix values (1); create table after (n int);")
    assert "nix" in str(done.error)
    assert done.out == "CREATE TABLE\n"
    with psycopg.connect(empty_database) as connection:
        found = connection.execute("select to_regclass('before')::text, to_regclass('after')::text").fetchone()
    assert found == ("before", None)


def test_an_open_transaction_is_rolled_back(sql: Callable[[str], Ran], empty_database: str) -> None:
    """A forgotten commit shows; a finished transaction is none."""
    assert sql("begin; create table t (n int); commit; select 1;").err == ""
    done = sql("begin; insert into t values (1);")
    assert done.err == "WARNING:  a transaction is open at the end; it is rolled back\n"
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("select count(*) from t").fetchone() == (0,)


def test_statements_are_those_of_psql(harmless_sql: Callable[[str], Ran]) -> None:
    """Bodies of functions in either style, statements that must be alone, and \\gexec."""
    done = harmless_sql(
        """
        create function pg_temp.f() returns int language sql begin atomic
            select 1;
            select case when true then 2 end;
        end;
        select pg_temp.f();
        select format('select %s as made', n) from generate_series(7, 8) n
        \\gexec
        vacuum;
        select error;
        """
    )
    assert [line for line in done.out.splitlines() if line] == [
        "CREATE FUNCTION", " f", "---", " 2", "(1 row)", " made", "------", "    7", "(1 row)", " made", "------",
        "    8", "(1 row)", "VACUUM",
    ]  # fmt: skip
    assert "line 10: " in str(done.error)


def test_files_share_a_session(empty_database: str, script: Callable[..., str]) -> None:
    """As several -f of psql do."""
    first, second = script("create temp table t as select 42 as n", "1.sql"), script("\ufeffselect n from t", "2.sql")
    assert " 42\n" in run(empty_database, "sql", first, second).out


def test_all_files_are_read_before_any_is_run(empty_database: str, script: Callable[..., str], tmp_path: Path) -> None:
    """A mistyped name, or a file of another encoding, does not leave half of the work."""
    good = script("create table t (n int)")
    missing = run(empty_database, "sql", good, "nowhere.sql")
    assert isinstance(missing.error, Misconfigured)
    latin = tmp_path / "latin.sql"
    latin.write_bytes(b"select 1;\nselect '\xe9';")
    other = run(empty_database, "sql", good, str(latin))
    assert "line 2 is not UTF-8 text" in str(other.error)
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("select to_regclass('t')").fetchone() == (None,)


def test_as_a_command(empty_database: str) -> None:
    """Standard input is -, the results go to standard output, the error to standard error, and the exit code tells."""
    done = command("sql", "-", dsn=empty_database, stdin="select 1 as one;\nselect nix;")
    assert done.returncode == 1
    assert done.stdout == " one\n-----\n   1\n(1 row)\n\n"
    assert done.stderr == 'webhook-router: standard input, line 2: column "nix" does not exist [42703]\n'
    assert command("sql", "nowhere.sql", dsn=empty_database).returncode == 2
    assert "Missing argument 'FILE'" in run(empty_database, "sql").err


@pytest.mark.parametrize("folder", ["audit", "tests"])
def test_what_we_ship_runs(database: str, folder: str) -> None:
    """The audit and the SQL tests, twice in a row."""
    files = sorted(str(entry) for entry in (schemas_folder() / folder).iterdir() if entry.name.endswith(".sql"))
    assert files
    for _ in range(2):
        done = run(database, "sql", *files)
        assert done.error is None, done.error
        assert done.code == 0


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_a_terminal_of_another_encoding(empty_database: str, encoding: str) -> None:
    """What it lacks is shown as an escape, in results, notices and errors; everything is run."""
    script = (
        "select 'é Ω €' as \"größe\"; do $$ begin raise notice '%', 'Ω'; end $$; select 'done'; select * from \"Ω\""
    )
    # As bytes: what comes back is not UTF-8.
    done = subprocess.run(
        [sys.executable, "-m", "consumer", "sql", "-"],
        env={**clean_environment(), "WEBHOOK_ROUTER_DATABASE_URL": empty_database, "PYTHONIOENCODING": encoding},
        input=script.encode(),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert done.returncode == 1
    assert "\\u03a9" in out
    assert "done" in out
    assert "NOTICE:  \\u03a9" in err
    assert 'relation "\\u03a9" does not exist' in err
    assert "Traceback" not in err
