"""How far behind a consumer is, in records and seconds, and when it stands still."""

from consumer.domain.lag import Lag, Partition, PartitionLag, Standstill, Withheld

ONE, TWO = Partition("events", 1), Partition("events", 2)


def seconds(lag: Lag, behind: dict[Partition, int], now: float) -> dict[Partition, float]:
    """The seconds of a sample."""
    return {found.partition: found.seconds for found in lag.sample(behind, now=now)}


class TestLag:
    def test_nothing_behind_is_no_lag(self) -> None:
        """Also when the last record is old: the topic was quiet."""
        lag = Lag()
        lag.read(ONE, 10.0)
        lag.done(ONE, 10.0, more=False)
        assert lag.sample({ONE: 0}, now=1000.0) == (PartitionLag(partition=ONE, records=0, seconds=0.0),)

    def test_what_is_in_hand_waits_since_its_own_time(self) -> None:
        """A backlog from yesterday is a day old, however short the service has been running."""
        lag = Lag()
        lag.read(ONE, 100.0)
        assert seconds(lag, {ONE: 5}, 160.0) == {ONE: 60.0}
        lag.done(ONE, 130.0, more=True)
        assert seconds(lag, {ONE: 5}, 160.0) == {ONE: 30.0}, "the next one is as old as the last one, at most"

    def test_what_nobody_has_read_waits_since_it_was_seen(self) -> None:
        """After a quiet hour, the age of the last record says nothing about the next one."""
        lag = Lag()
        lag.read(ONE, 10.0)
        lag.done(ONE, 10.0, more=False)
        assert seconds(lag, {ONE: 1}, 3600.0) == {ONE: 0.0}
        assert seconds(lag, {ONE: 2}, 3610.0) == {ONE: 10.0}

    def test_what_had_to_be_guessed_is_known_once_it_is_read(self) -> None:
        """Just after a start the lag in seconds is too small; `read` says when a new sample knows more."""
        lag = Lag()
        assert seconds(lag, {ONE: 3000, TWO: 0}, 160.0) == {ONE: 0.0, TWO: 0.0}
        assert seconds(lag, {ONE: 3000, TWO: 0}, 161.0) == {ONE: 1.0, TWO: 0.0}
        assert lag.read(ONE, 100.0), "a guess until now"
        assert seconds(lag, {ONE: 3000, TWO: 0}, 162.0) == {ONE: 62.0, TWO: 0.0}
        assert not lag.read(ONE, 101.0), "known already"
        assert not lag.read(TWO, 161.5), "it was known to have nothing"

    def test_what_was_not_in_the_sample_is_news(self) -> None:
        """Its position was not known yet."""
        lag = Lag()
        assert seconds(lag, {ONE: 0}, 160.0) == {ONE: 0.0}
        assert lag.read(TWO, 100.0)
        assert not lag.read(TWO, 101.0)

    def test_partitions_that_are_gone_are_forgotten(self) -> None:
        """A partition that comes back after a rebalance starts anew."""
        lag = Lag()
        lag.read(ONE, 10.0)
        assert seconds(lag, {TWO: 1}, 20.0) == {TWO: 0.0}
        assert seconds(lag, {ONE: 1, TWO: 1}, 30.0) == {ONE: 0.0, TWO: 10.0}

    def test_clocks_that_disagree_make_no_negative_lag(self) -> None:
        """A producer may be ahead of us."""
        lag = Lag()
        lag.read(ONE, 50.0)
        assert seconds(lag, {ONE: 1}, 40.0) == {ONE: 0.0}


class TestStandstill:
    def test_behind_and_still_for_too_long_is_a_standstill(self) -> None:
        """Only the partition that stands still."""
        watch = Standstill(patience=30)
        assert watch.look({ONE: 1, TWO: 1}, now=0) == []
        watch.moved([TWO])
        assert watch.look({ONE: 1, TWO: 1}, now=29) == []
        assert watch.look({ONE: 1, TWO: 1}, now=30) == [ONE]

    def test_nothing_to_read_is_no_standstill(self) -> None:
        """A quiet topic may be quiet for days."""
        watch = Standstill(patience=30)
        watch.look({ONE: 1}, now=0)
        assert watch.look({ONE: 0}, now=20) == []
        assert watch.look({ONE: 1}, now=40) == []

    def test_a_busy_consumer_does_not_stand(self) -> None:
        """With more than it asks for, some partitions wait for their turn."""
        watch = Standstill(patience=30)
        watch.look({ONE: 1}, now=0)
        watch.busy()
        assert watch.look({ONE: 1}, now=40) == []


class TestWithheld:
    def test_it_is_told_once_and_when_it_is_over(self) -> None:
        """With the number of records, and for how long."""
        withheld = Withheld(patience=60)
        assert withheld.look({ONE: 5, TWO: 9}, {ONE: 3}, now=0) == []
        assert withheld.look({ONE: 5, TWO: 9}, {ONE: 4}, now=60) == [(ONE, 4, 60)]
        assert withheld.look({ONE: 5, TWO: 9}, {ONE: 5}, now=70) == []
        assert withheld.look({ONE: 11, TWO: 9}, {}, now=80) == [(ONE, 0, 80)]
        assert withheld.look({ONE: 11, TWO: 9}, {}, now=200) == []

    def test_one_transaction_after_the_other_is_nothing_unusual(self) -> None:
        """There is always one that is open, but what it holds up moves on."""
        withheld = Withheld(patience=60)
        for now in range(0, 200, 10):
            assert withheld.look({ONE: now}, {ONE: 3}, now=now) == []

    def test_another_one_begins_anew(self) -> None:
        """The records behind the first have come, those behind the next wait since then."""
        withheld = Withheld(patience=60)
        withheld.look({ONE: 5}, {ONE: 3}, now=0)
        assert withheld.look({ONE: 5}, {ONE: 3}, now=60) == [(ONE, 3, 60)]
        assert withheld.look({ONE: 8}, {ONE: 3}, now=70) == [(ONE, 0, 70)]
        assert withheld.look({ONE: 8}, {ONE: 3}, now=129) == []
        assert withheld.look({ONE: 8}, {ONE: 3}, now=130) == [(ONE, 3, 60)]

    def test_what_is_withheld_is_part_of_the_lag(self) -> None:
        """And waits as well."""
        lag = Lag()
        lag.sample({ONE: 4}, now=10.0, withheld={ONE: 4})
        assert lag.sample({ONE: 4}, now=30.0, withheld={ONE: 3}) == (
            PartitionLag(partition=ONE, records=4, seconds=20.0, withheld=3),
        )
