"""Rules take over when a file has changed and stands still, and never leave nothing behind by mistake."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from exporter.config.settings import RulesSettings
from exporter.durations import Duration
from exporter.errors import RuleFileInvalid
from exporter.metrics import Metrics
from exporter.reconciler import rules_in_force
from exporter.reconciler.rules_in_force import RulesInForce
from exporter.rules.files import loading
from exporter.rules.finding import Finding
from exporter.rules.lint import linter
from exporter.rules.lint.known_values import ANY_INSTALLATION, Installation
from tests.support.conditions import until
from tests.support.logs import logged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def rules(*names: str, group: str = "g", runbook: bool = True) -> str:
    text = f"groups:\n- name: {group}\n  rules:\n"
    for name in names:
        text += f"  - {{alert: {name}, expr: dict_rate_limit_up == 0, labels: {{severity: info}}"
        text += ", annotations: {runbook_url: here}}\n" if runbook else "}\n"
    return text


class Held:
    """Rules in force, of a file."""

    def __init__(
        self,
        folder: Path,
        text: str,
        *,
        allow_none: bool = False,
        pattern: str = "rules.yml",
        stable_seconds: float = 0.0,
        installation: Installation = ANY_INSTALLATION,
    ) -> None:
        self.file = folder / "rules.yml"
        self.file.write_text(text)
        self.metrics = Metrics()
        settings = RulesSettings(files=(str(folder / pattern),), reload_interval=Duration(0.01), allow_none=allow_none)
        self.rules = RulesInForce(
            settings, self.metrics, installation=installation, restless_seconds=0.01, stable_seconds=stable_seconds
        )

    @property
    def names(self) -> list[str]:
        return [rule.name for rule in self.rules.rules]

    @property
    def successful(self) -> float | None:
        return self.metrics.registry.get_sample_value("dict_rate_limit_config_last_reload_successful")

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.rules.watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("emptied", ["", "groups: []", "groups:\n- name: g\n", "# nothing\n"])
async def test_a_file_that_was_emptied_leaves_the_running_rules_in_place(tmp_path: Path, caplog, emptied: str) -> None:
    held = Held(tmp_path, rules("A", "B"))
    held.file.write_text(emptied)

    with pytest.raises(RuleFileInvalid, match="there is no rule at all"):
        await held.rules.reload()

    assert held.names == ["A", "B"]
    assert held.successful == 0
    assert "rules not reloaded, the running ones stay" in caplog.text


async def test_rules_of_a_config_map_are_taken_up_when_the_kubelet_swaps_them(tmp_path: Path) -> None:
    for version, names in (("1", ("A",)), ("2", ("A", "B"))):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "mine.yml").write_text(rules(*names))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "mine.yml").symlink_to("..data/mine.yml")
    settings = RulesSettings(files=(str(tmp_path / "*.yml"),), reload_interval=Duration(0.01))
    in_force = RulesInForce(settings, Metrics(), stable_seconds=0.05)

    task = asyncio.create_task(in_force.watch())
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    await until(lambda: len(in_force.rules) == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert [rule.name for rule in in_force.rules] == ["A", "B"]


async def test_nothing_is_loaded_where_that_is_meant(tmp_path: Path) -> None:
    held = Held(tmp_path, rules("A"), allow_none=True)
    held.file.write_text("")

    await held.rules.reload()

    assert held.names == []
    assert held.successful == 1


def test_a_start_without_any_rule_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuleFileInvalid, match=r"set rules\.allow_none"):
        Held(tmp_path, "groups: []")


async def test_how_many_rules_there_are_is_told_at_the_start_and_at_each_reload(tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO", "exporter.reconciler.rules_in_force")
    held = Held(tmp_path, rules("A", "B"))
    held.file.write_text(rules("A", "B", "C"))

    await held.rules.reload()

    assert [(r.message, r.rules, r.files) for r in caplog.records] == [("rules loaded", 2, 1), ("rules reloaded", 3, 1)]


async def test_rules_that_are_gone_are_told_by_name(tmp_path: Path, caplog) -> None:
    held = Held(tmp_path, rules("A", "B", "C"))
    held.file.write_text(rules("B", "D"))

    await held.rules.reload()

    gone = [(r.levelname, r.group, r.rule) for r in caplog.records if "rule removed" in r.message]
    assert gone == [("WARNING", "g", "A"), ("WARNING", "g", "C")]


async def test_series_that_are_no_longer_recorded_are_told_to_end(tmp_path: Path, caplog) -> None:
    held = Held(tmp_path, rules("A", "B"))
    held.file.write_text(rules("A", "B", runbook=False).replace("alert: B", "record: B"))
    await held.rules.reload()
    held.file.write_text(rules("A"))
    await held.rules.reload()

    gone = [(r.message, r.rule) for r in caplog.records if "rule removed" in r.message]
    assert gone == [("rule removed, its alerts resolve", "B"), ("rule removed, its series end", "B")]


async def test_of_many_rules_that_are_gone_some_are_named_and_the_others_counted(tmp_path: Path, caplog) -> None:
    held = Held(tmp_path, rules(*(f"A{number:02}" for number in range(25)), "B"))
    held.file.write_text(rules("B"))

    await held.rules.reload()

    assert [line for line in logged(caplog, "removed") if "removed" in line[0]] == [
        ("rule removed, its alerts resolve", 25)
    ] * 20


async def test_a_file_that_changed_is_read_when_it_stands_still(tmp_path: Path) -> None:
    held = Held(tmp_path, rules("A", "B"), stable_seconds=0.2)

    async with held.watched():
        held.file.write_text(rules("A"))
        await until(lambda: held.rules._watched.is_restless)
        held.file.write_text(rules("A", "B", "C"))
        await until(lambda: held.names != ["A", "B"])

    assert held.names == ["A", "B", "C"]


async def test_a_file_that_is_written_anew_with_the_same_rules_is_not_loaded(tmp_path: Path) -> None:
    held = Held(tmp_path, rules("A"))
    before = held.rules.rule_set
    held.file.write_text(rules("A"))

    assert not held.rules._changed()
    assert held.rules.rule_set is before


async def test_a_file_that_comes_is_loaded(tmp_path: Path) -> None:
    held = Held(tmp_path, rules("A"), pattern="*.yml")

    async with held.watched():
        (tmp_path / "more.yml").write_text(rules("B", group="more"))
        await until(lambda: held.names == ["B", "A"])


async def test_the_event_loop_goes_on_while_many_rules_are_loaded(tmp_path: Path) -> None:
    held = Held(tmp_path, rules("A"))
    held.file.write_text(rules(*(f"A{number}" for number in range(2_000))))
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1
            assert len(held.names) in {1, 2_000}

    turning = asyncio.create_task(turn())
    await held.rules.reload()
    turning.cancel()

    assert len(held.names) == 2_000
    assert turns > 100  # about 5 where it is loaded on the loop


async def test_of_two_reloads_the_one_asked_for_last_is_loaded_last(tmp_path: Path, monkeypatch) -> None:
    held = Held(tmp_path, rules("A"))
    loads = 0
    at_once: list[int] = []
    attempt = loading.attempt

    def counted(*args: object) -> loading.Attempt:
        nonlocal loads
        loads += 1
        at_once.append(loads)
        if len(at_once) == 1:
            held.file.write_text(rules("A", "B"))
        try:
            return attempt(*args)
        finally:
            loads -= 1

    monkeypatch.setattr(rules_in_force.loading, "attempt", counted)
    await asyncio.gather(*(held.rules.reload() for _ in range(3)))

    assert at_once == [1, 1, 1]
    assert held.names == ["A", "B"]


async def test_rules_that_do_not_load_leave_the_running_ones_while_and_after(tmp_path: Path) -> None:
    held = Held(tmp_path, rules("A"))
    held.file.write_text(rules("B", "B") + "  - {alert: C, alert: D}\n")

    with pytest.raises(RuleFileInvalid, match="alert is given twice, first in line 6"):
        await held.rules.reload()

    assert held.names == ["A"]
    assert gc.isenabled()


async def test_each_error_of_files_that_do_not_load_is_a_line_of_the_log(tmp_path: Path, caplog) -> None:
    held = Held(tmp_path, rules("A"))
    held.file.write_text(
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: |\n      dict_rate_limit_up == 0\n        and (\n"
        "    labels: {severity: warn}\n"
    )

    with pytest.raises(RuleFileInvalid):
        await held.rules.reload()

    unclosed = "unexpected end: a `(` is not closed, that of line 7, column 13"
    assert [line for line in logged(caplog, "error") if line[1]] == [
        ("rules not reloaded, the running ones stay", f"{held.file}:{told}")
        for told in (
            f"7: g/A: error: column 14: `and (` cannot be parsed: {unclosed}",
            "8: g/A: error: severity `warn` is none of info, warning, critical; did you mean warning?",
        )
    ]


async def test_what_rules_check_warns_of_is_told_of_each_rule_set_once(tmp_path: Path, caplog) -> None:
    held = Held(tmp_path, rules("A", runbook=False))

    def warnings() -> list[tuple[object, ...]]:
        records = [r for r in caplog.records if r.message == "rules check found a warning"]
        return [(r.check, r.file, r.line, r.group, r.rule) for r in records]

    async with held.watched():
        await until(warnings)
        held.file.write_text(rules("A", "B", runbook=False))
        await held.rules.reload()
        await until(lambda: any(rule == "B" for *_, rule in warnings()))

    assert warnings() == [
        ("lint/runbook", str(held.file), line, "g", rule) for line, rule in ((4, "A"), (4, "A"), (5, "B"))
    ]
    assert "has no annotation runbook_url" in caplog.records[-1].warning


async def test_warnings_go_by_the_installation(tmp_path: Path, caplog) -> None:
    text = rules("A", "B", "C")
    for name, selector in zip("ABC", ('{participant="1"}', '{participant="2"}', '{policy="X"}'), strict=True):
        text = text.replace(
            f"{name}, expr: dict_rate_limit_up == 0", f"{name}, expr: 'dict_rate_limit_capacity{selector} == 0'"
        )
    installation = Installation(participants=frozenset("1"), stored_policies=None)
    held = Held(tmp_path, text, installation=installation)

    def warned() -> list[str]:
        return [r.rule for r in caplog.records if getattr(r, "check", "") == "lint/unknown_value"]

    async with held.watched():
        await until(warned)

    assert warned() == ["B"]


async def test_a_check_that_fails_is_logged_and_the_rules_stay_in_force(tmp_path: Path, monkeypatch, caplog) -> None:
    def fails(*_: object) -> list[Finding]:
        raise OverflowError

    monkeypatch.setattr(linter, "warnings", fails)
    held = Held(tmp_path, rules("A"))

    async with held.watched():
        await until(lambda: "rules check failed" in caplog.text)
        held.file.write_text(rules("A", "B"))
        await until(lambda: held.names == ["A", "B"])


async def test_rule_files_are_parsed_once_for_a_reload_and_its_warnings(tmp_path: Path, monkeypatch, caplog) -> None:
    parsed: list[str] = []
    parse_file = loading.parse_file

    def counted(file: str, *more: Any, **options: Any) -> Any:
        parsed.append(file)
        return parse_file(file, *more, **options)

    monkeypatch.setattr(loading, "parse_file", counted)
    held = Held(tmp_path, rules("A", runbook=False))

    async with held.watched():
        await until(lambda: "rules check found a warning" in caplog.text)

    assert parsed == [str(held.file)]
