"""How pytest-xdist deals out the tests: in which order, and which of them stay together in one worker."""

from collections.abc import Iterable

import pytest

from tests.sharing import Sharing

FOR_EACH_WORKER = {
    "any_postgres",
    "application_server",
    "chromium",
    "installed",
    "kafka",
    "newest_server",
    "postgres_oldest",
    "postgres_server",
    "schema_template",
    "server_of_major",
    "shared_on",
    "template_on",
}
"""Fixtures of a wider scope than a test that cost a worker little, since workers share what stands behind them."""
FIRST = (
    "tests/deploy/test_pages.py::test_pg_cron",
    "tests/deploy/test_packaging.py",
    "tests/kafka/test_scale_out.py",
    "tests/sql/test_convergence.py",
    "tests/kafka/test_faults.py",
    "tests/deploy/test_prometheus.py",
    "tests/kafka/test_try_out.py",
    "tests/deploy/test_pages.py",
    "tests/perf",
    "tests/kafka",
    "tests/sql/test_plans.py",
    "tests/abuse",
    "tests/ops",
    "tests/acceptance",
    "tests/bad_input",
    "tests/deploy",
)
"""What takes long, in the order in which it begins: beginnings of node ids. What comes last should be short."""
TOGETHER = ("tests/kafka/test_try_out.py",)
"""Modules whose tests must not run beside each other: they use the same file."""


def rank(item: pytest.Item) -> int:
    """The place among the others; tests of one rank keep their order."""
    return next((place for place, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST))


def groups(items: list[pytest.Item]) -> dict[str, str]:
    """Node ids of tests that stay together, with the name of their group.

    A module with fixtures of its own scope is a group, and so are the tests that use another fixture of a wider scope:
    each worker would make it anew, or it is one that only one test at a time may use.
    """
    modules = {_module(item) for item in items if {"module", "class"} & {scope for _, scope in _wide_fixtures(item)}}
    found = {}
    for item in items:
        names = sorted(name for name, _ in _wide_fixtures(item) if name not in FOR_EACH_WORKER)
        if _module(item) in modules.union(TOGETHER):
            found[item.nodeid] = _module(item)
        elif names:
            found[item.nodeid] = names[0]
    return found


def _wide_fixtures(item: pytest.Item) -> Iterable[tuple[str, str]]:
    """Names and scopes of our fixtures that live longer than this test."""
    assert isinstance(item, pytest.Function)
    for name, definitions in item._fixtureinfo.name2fixturedefs.items():
        definition = definitions[-1]
        if definition.scope != "function" and definition.baseid.startswith("tests"):
            yield name, definition.scope


def _module(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def dealing(config: pytest.Config, log: object, sharing: Sharing) -> object:
    """Deals out groups of tests in the order in which they stand, to whichever worker is about to be done."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Dealing(LoadScopeScheduling):  # type: ignore[misc]
        # What `--dist loadgroup` does by changing node ids, which pytest does not let it do any more.
        def _split_scope(self, nodeid: str) -> str:
            return sharing.groups.get(nodeid, nodeid)

    config.option.loadscopereorder = False
    return Dealing(config, log)
