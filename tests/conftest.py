"""Services that tests ask for, each defined in `tests/support`; what holds for every run and every test."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings
from logfmter import Logfmter

from tests.support import servers
from tests.support.remains import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["tests.support.postgres", "tests.support.broker", "tests.support.recorded"]

# How long an example takes says how busy the machine is.
settings.register_profile("suite", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

LONGEST = (
    *("test_history_backtest", "test_rules", "test_crashes", "test_prometheus", "test_compose", "test_outages"),
    *("test_meta_alerts", "test_secrets", "test_relay", "test_remains", "test_alertmanager", "test_split", "test_feed"),
    *("test_history_capture", "test_older_copy"),
)
"""Files of tests that take a minute and more, the longest first: begun last, one would keep all others waiting."""

UNMEASURED = ("e2e", "differential", "repository")
"""Folders of tests whose lines are not counted: measuring doubles the time of whatever runs beside it."""

MEASURED = "COVERAGE_PROCESS_CONFIG"
"""In the environment: how coverage has a process measure itself."""

_run = pytest.StashKey[Run]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # Shells let what they run in the background ignore SIGINT, and so would every program that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):  # one of pytest-xdist's workers belongs to the run that started it
        config.stash[_run] = Run()
        return
    while measured := Coverage.current():
        # Begun with the process and with pytest-cov; a worker has a third, and while that one pauses these would go on.
        measured.stop()
        measured.save()


def pytest_sessionstart(session: pytest.Session) -> None:
    # What `caplog.text` holds is what a reader of the log sees: events with their fields.
    session.config.pluginmanager.get_plugin("logging-plugin").caplog_handler.setFormatter(Logfmter())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """A run that leaves a process behind has failed."""
    yield
    if run := session.config.stash.get(_run, None):
        left = run.left()
        if left:
            print("\nstill running after the tests:", *left, sep="\n  ")  # noqa: T201
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    if run := config.stash.get(_run, None):
        run.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))
    for item in items:
        if item.path.parent.name in UNMEASURED:
            item.add_marker("no_cover")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """pytest-cov looks away during such a test; neither is what the test starts measured."""
    measured = os.environ.pop(MEASURED, None) if item.get_closest_marker("no_cover") else None
    try:
        return (yield)
    finally:
        if measured is not None:
            os.environ[MEASURED] = measured


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    servers.begin_test()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """In CI a test that would be skipped fails: nothing it needs may be missing there."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
    if report.failed and (beside := servers.report()):
        report.sections.append(("Servers of this test", beside))
    return report
