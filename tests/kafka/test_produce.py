"""What `produce` writes where, and what it refuses before it writes anything."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psycopg
import pytest

from consumer.adapters.kafka.shards import shard_of
from consumer.domain.webhook import CHANNELS
from tests.kafka.broker import Cluster
from tests.kafka.scene import Scene
from tests.kafka.topics import Topics, event, events, unique
from tests.processes import command

SOON = 20
"""Seconds; an attempt to connect may take ten of them."""


def produced(
    lines: list[dict[str, Any]], *flags: str, bootstrap: str, env: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """`produce` as a user runs it."""
    return command(
        *("produce", "-", "--kafka-bootstrap-servers", bootstrap, *flags),
        stdin="".join(json.dumps(line) + "\n" for line in lines),
        env=env,
    )


def reasons(file: Path) -> dict[int, str]:
    """Why lines were rejected, by their numbers."""
    kept = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {line["line"]: line["reason"] for line in kept}


class TestTopic:
    async def test_a_misspelt_topic_is_not_made(self, scene: Scene) -> None:
        """One line names it and the one that may be meant; what the line advises then makes it."""
        wrong = scene.topic.replace("events", "evnts")
        done = produced(events(3), "--topic", wrong, bootstrap=scene.topics.bootstrap)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert f"topic {wrong} does not exist" in line
        assert f"is {scene.topic} meant?" in line
        assert wrong not in await scene.topics.names()
        (advice,) = [word for word in line.split() if word.startswith("--")]
        made = produced(events(3), "--topic", wrong, advice, bootstrap=scene.topics.bootstrap)
        assert made.returncode == 0, made.stderr
        assert len(await scene.topics.read(wrong)) == 3

    async def test_all_topics_of_the_shards_must_exist(self, kafka: Cluster) -> None:
        """Those that are missing are named, and nothing is written to the others."""
        topics, base = Topics(kafka.bootstrap), unique("sharded")
        await topics.create(f"{base}-1", partitions=1)
        done = produced(events(50), "--topic", base, "--shards", "3", bootstrap=kafka.bootstrap)
        assert done.returncode == 2
        assert f"topics {base}-0, {base}-2 do not exist, and nothing was written" in done.stderr
        assert await topics.ends(f"{base}-1") == {0: 0}
        assert not {f"{base}-0", f"{base}-2", base} & await topics.names()
        done = produced(events(50), "--topic", base, "--shards", "3", "--create-topic", bootstrap=kafka.bootstrap)
        assert done.returncode == 0, done.stderr
        for number in range(3):
            keys = {record.key for record in await topics.read(f"{base}-{number}")}
            assert keys == {
                key
                for key in (f"instagram:author-{author}".encode() for author in range(50))
                if shard_of(key, 3) == number
            }

    async def test_partitions_that_would_stay_empty_are_told(self, kafka: Cluster) -> None:
        """Shard and partition come from one hash: with 4 shards, 3 of 6 partitions get no key."""
        topics, base = Topics(kafka.bootstrap), unique("sharded")
        for number in range(4):
            await topics.create(f"{base}-{number}", partitions=6 if number == 2 else 3)
        done = produced(events(200), "--topic", base, "--shards", "4", "--json", bootstrap=kafka.bootstrap)
        assert done.returncode == 0, done.stderr
        written = json.loads(done.stdout)["topics"]
        assert sum(written.values()) == 200
        assert f"only 3 of the 6 partitions of {base}-2 get events" in done.stderr
        for number, empty in ((1, 0), (2, 3)):
            ends = await topics.ends(f"{base}-{number}")
            assert list(ends.values()).count(0) == empty
            assert sum(ends.values()) == written[f"{base}-{number}"]

    @pytest.mark.parametrize("server", ["localhost:1", "no-such-broker.invalid:9092"])
    def test_brokers_that_cannot_be_reached(self, server: str) -> None:
        """One line that names them, soon."""
        begun = time.monotonic()
        done = produced(events(1), bootstrap=server)
        assert time.monotonic() - begun < SOON
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert server.partition(":")[0] in line


class TestLines:
    async def test_a_channel_that_no_database_knows(self, scene: Scene, tmp_path: Path) -> None:
        """Is rejected by its line, unless the user says that the database was widened."""
        lines = [event(1, channel=" Instagram "), event(2, channel="instagramm"), event(3, channel="sms")]
        file = tmp_path / "rejected"
        flags = ("--topic", scene.topic, "--rejected", str(file))
        done = produced(lines, *flags, bootstrap=scene.topics.bootstrap)
        assert done.returncode == 1
        assert done.stdout.startswith(f"1 event written to {scene.topic}, 2 rejected (see {file})")
        said = reasons(file)
        assert said.keys() == {2, 3}
        assert said[2].startswith("channel 'instagramm' is not known: is instagram meant?")
        assert said[3].startswith(f"channel 'sms' is not known: none of {', '.join(CHANNELS)}.")
        (advice,) = [word for word in said[3].split() if word.startswith("--")]
        assert produced(lines, *flags, advice, bootstrap=scene.topics.bootstrap).returncode == 0
        assert len(await scene.topics.read(scene.topic)) == 4

    async def test_an_event_that_is_only_named_has_no_shard(self, kafka: Cluster, tmp_path: Path) -> None:
        """Unless its author, or its post, says in which database it is."""
        topics, base = Topics(kafka.bootstrap), unique("sharded")
        await topics.create(f"{base}-0", partitions=1)
        names = [{"channel": "tiktok", "event_id": "e1"}, {"channel": "tiktok", "event_id": "e1", "author_id": "a"}]
        file = tmp_path / "rejected"
        flags = ("--topic", base, "--shards", "1", "--rejected", str(file))
        done = produced(names, *flags, bootstrap=kafka.bootstrap)
        assert done.returncode == 1
        assert reasons(file) == {
            1: "only names an event; with --shards, give its author_id (or post_id) too, which says where it is"
        }
        assert [record.key for record in await topics.read(f"{base}-0")] == [b"tiktok:a"]


def test_the_known_channels_are_those_of_the_table(db: psycopg.Connection) -> None:
    """Each is taken by a database as `migrate` makes it, and no other."""
    row = db.execute(
        """select pg_get_constraintdef(oid) from pg_constraint
           where conrelid = 'public.webhook_events'::regclass and conname = 'webhook_events_channel_check'"""
    ).fetchone()
    assert row is not None
    assert sorted(part for part in row[0].split("'")[1::2]) == sorted(CHANNELS)
