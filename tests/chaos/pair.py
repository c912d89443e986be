"""A second server that follows the first one, takes over from it, and hands back; with an address that moves along."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from consumer.embedded_postgres.binaries import Binaries, choose_identity
from tests.chaos.server import Server
from tests.waiting import wait_for

SETTINGS = {"wal_log_hints": "on", "wal_keep_size": "2GB"}
"""What pg_rewind needs of a server."""
PROGRAMS = ("pg_basebackup", "pg_rewind")
SECONDS = 300.0
"""For a copy of a whole cluster."""


def missing(binaries: Binaries) -> list[str]:
    """Programs that this installation lacks."""
    return [name for name in PROGRAMS if not (binaries.folder / name).is_file()]


@contextlib.contextmanager
def standby_of(leader: Server) -> Iterator[Server]:
    """A hot standby on the port that the leader's clients know as well; it and its data are gone afterwards."""
    assert leader.spare is not None
    port = leader.spare
    folder = Path(tempfile.mkdtemp(prefix="chaos-standby-"))
    choose_identity().give(folder)
    standby: Server | None = None
    try:
        _copy(leader, folder)
        password = folder / "password"
        password.touch(mode=0o600)
        password.write_text(leader.password)
        choose_identity().give(password)
        standby = Server.start(folder, binaries=leader.binaries, settings=leader._settings, choose_port=lambda: port)
        yield standby
    finally:
        if standby is not None:
            if not leader.running:
                leader.restart()
            make_alone(leader)  # or whatever it commits next waits for a standby
            standby.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def follow(old: Server, leader: Server, *, rewind: bool) -> None:
    """A former primary comes back as a standby of the one that has taken over: rewound, or copied once more."""
    old._end("kill")
    old._await_predecessor()
    _execute(leader, "checkpoint")  # before it the leader's own files do not tell of its new timeline
    if rewind:
        _run(old, "pg_rewind", "-D", str(old.data), f"--source-server={leader.dsn()}", "-R", "--no-sync")
    else:
        shutil.rmtree(old.data)
        _copy(leader, old.folder)
    old.restart()


def make_synchronous(leader: Server) -> None:
    """From now on a commit of the leader is acknowledged when its standby has it as well; waits for the standby."""
    _execute(leader, "alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
    with psycopg.connect(leader.dsn(), autocommit=True) as connection:

        def follows(condition: str) -> bool:
            query = f"select from pg_stat_replication where state = 'streaming' and {condition}"
            return connection.execute(query.encode()).fetchone() is not None

        wait_for(lambda: follows("sync_state = 'sync'"), what="a synchronous standby")
        connection.execute("checkpoint")  # made by the process that passes the setting on to the others
        (end,) = connection.execute("select pg_current_wal_lsn()").fetchone() or (None,)
        wait_for(lambda: follows(f"flush_lsn >= '{end}'"), what="a standby that has everything")


def make_alone(leader: Server) -> None:
    """It waits for no standby any more, and follows nobody."""
    _execute(
        leader,
        "alter system reset synchronous_standby_names",
        "alter system reset primary_conninfo",
        "select pg_reload_conf()",
    )


def _execute(server: Server, *statements: str) -> None:
    # What is set here need not wait for a standby itself.
    with psycopg.connect(server.dsn(), autocommit=True, options="-c synchronous_commit=local") as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _copy(leader: Server, folder: Path) -> None:
    """A base backup, as `data` below the folder, that is a standby when it starts."""
    target = str(folder / "data")
    _run(leader, "pg_basebackup", "-D", target, "-d", leader.dsn(), "-R", "-X", "stream", "-c", "fast", "--no-sync")


def _run(server: Server, program: str, *arguments: str) -> None:
    done = choose_identity().run(str(server.binaries.folder / program), *arguments, timeout=SECONDS)
    if done.returncode != 0:
        raise OSError(f"{program}: {done.stdout[-500:]}")
