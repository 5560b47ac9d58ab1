from __future__ import annotations

import asyncio
import json
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from exporter.cli.main import cli
from exporter.rules.files import loading
from tests.support.builders import POLICY, at, bucket, failed, observed, poll, read
from tests.support.recorded import recorder
from tests.support.rules import rule_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from click.testing import Result

    from exporter.buckets.observation import Poll

pytestmark = pytest.mark.postgres

LOW = """
alert: Low
expr: |
  max by (participant, policy) (dict_rate_limit_utilization_percent) >= 80
    or
  max by (participant, policy) (
    dict_rate_limit_utilization_percent >= 75
    and on (participant, policy) ALERTS{alertname="Low", alertstate="firing"}
  )
    or
  max by (participant, policy) (
    ALERTS{alertname="Low", alertstate="firing"} and on (participant) dict_rate_limit_up == 0
  )
labels: {severity: warning}
"""
SLOW = """
alert: Slow
expr: max by (participant, policy) (dict_rate_limit_utilization_percent) > 50
for: 1m
keep_firing_for: 2m
labels: {severity: critical}
"""
FAST = """
alert: Fast
expr: max by (participant, policy) (dict_rate_limit_consumption_rate_per_minute) > 1000
labels: {severity: info}
"""
DOWN = "alert: Down\nexpr: max by (participant) (dict_rate_limit_up) == 0\nlabels: {severity: critical}"
TWICE = (
    "alert: Twice\nexpr: dict_rate_limit_up * on (participant) group_right dict_rate_limit_capacity > 0\n"
    "labels: {severity: info, policy: ''}"
)


def used(*percents: float) -> list[Poll]:
    """Polls every 15 s; each finds so much of the bucket used, and another bucket full."""
    return [
        poll(bucket(round(36_000 * (1 - p / 100))), bucket(policy="CLAIMS_READ"), seconds=15.0 * n)
        for n, p in enumerate(percents)
    ]


@pytest.fixture
def past(database_dsn, tmp_path):
    """Records polls under rules, then explains."""
    path = rule_file(tmp_path, LOW, SLOW, FAST, DOWN, TWICE)

    class Past:
        rules = path

        async def record(self, polls: Sequence[Poll], rules: str | None = None) -> None:
            async with recorder(database_dsn, loading.load([rules or path]).rules) as recorded:
                await recorded.take(polls)

        async def ran(self, *arguments: str, when: datetime | None = None) -> Result:
            """The command, beside the test's own event loop."""
            runner = CliRunner(env={"DICT_RATE_LIMIT_DATABASE__DSN": database_dsn})
            command = ["explain", f"--rules={self.rules}", f"--at={(when or at(3600)).isoformat()}", *arguments]
            return await asyncio.to_thread(runner.invoke, cli, command)

        async def text(self, *arguments: str, when: datetime | None = None) -> str:
            result = await self.ran(*arguments, when=when)
            assert result.exit_code == 0, result.exception
            return result.stdout

        async def document(self, *arguments: str, when: datetime | None = None) -> dict[str, Any]:
            (only,) = json.loads(await self.text(*arguments, "--output=json", when=when))
            return only

    return Past()


async def test_a_firing_alert_is_reported_with_each_sides_value(past):
    await past.record(used(60, 82, 85))

    text = await past.text("Low", when=at(30))

    assert text.startswith("Low (warning) of 12345678, ENTRIES_WRITE, at the poll of 2026-03-10 12:00:30 UTC\n")
    assert "Firing since 2026-03-10 12:00:15 (15s)." in text
    lines = [line.strip() for line in text.splitlines()]
    assert "max by (participant, policy) (dict_rate_limit_utilization_percent)  = 85" in lines
    assert any(line.startswith("true ") and line.endswith(">= 80  = 85") for line in lines)
    assert "dict_rate_limit_up  = 1" in lines


async def test_what_a_read_saw_is_explained_as_of_the_read(past):
    await past.record([*used(60), read(bucket(3_600), seconds=7, sequence=2)])

    text = await past.text("Low", when=at(10))

    assert text.startswith("Low (warning) of 12345678, ENTRIES_WRITE, at the poll of 2026-03-10 12:00:07 UTC\n")
    assert "Firing since 2026-03-10 12:00:07" in text


async def test_past_alerts_are_shown_as_the_rule_saw_them(past, tmp_path):
    counting = """
    alert: OftenDown
    expr: count_over_time(ALERTS{alertname="Down"}[5m]) >= 3
    labels: {severity: info}
    """
    past.rules = rule_file(tmp_path, dedent(counting), DOWN, name="often.yml")
    await past.record([poll(bucket()), *(failed(15.0 * n) for n in range(1, 4))], past.rules)

    document = await past.document("OftenDown", when=at(45))

    assert document["state"] == "inactive"
    [count] = [part for part in document["expression"]["parts"] if part["expr"].startswith("count_over_time")]
    assert [series["value"] for series in count["series"]] == [2]


async def test_hysteresis_is_named_as_what_it_goes_on_by(past):
    await past.record(used(60, 82, 77))

    text = await past.text("Low", when=at(30))

    assert "It would not start firing now: it keeps firing by `max by (participant, policy) (dict_rate_limit_u" in text


async def test_an_alert_that_waits_says_for_how_long(past):
    await past.record(used(40, 60, 60, 60))

    why = await past.document("Slow", when=at(45))

    assert (why["state"], why["active_since"]) == ("pending", at(15).isoformat())
    assert why["sentences"][0] == (
        "Pending: true since 2026-03-10 12:00:15, 30s of the 1m that `for` asks. "
        "It fires at the first poll from 2026-03-10 12:01:15 on, if it is true at every poll until then."
    )


async def test_an_alert_that_fires_after_waiting_says_both_times(past):
    await past.record(used(40, *[60] * 6))

    text = await past.text("Slow", when=at(90))

    assert "Firing since 2026-03-10 12:01:15 (15s); true since 2026-03-10 12:00:15." in text
    assert "It keeps firing for 2m (`keep_firing_for`) once the expression is not true." in text


async def test_an_alert_that_is_kept_says_until_when(past):
    await past.record(used(*[60] * 6, 40, 40))

    why = await past.document("Slow", when=at(105))

    assert (why["state"], why["true"]) == ("firing", False)
    assert why["keep_firing_since"] == at(90).isoformat()
    assert "`keep_firing_for` (2m) keeps the alert firing" in why["sentences"][1]
    assert "from 2026-03-10 12:03:30 on" in why["sentences"][1]


async def test_an_alert_that_is_over_says_when_it_fired_last(past):
    await past.record(used(82, 82, 10, 10))

    why = await past.document("Low", "--policy", POLICY, when=at(45))

    assert why["state"] == "inactive"
    assert why["sentences"] == [
        "Not firing: the expression is not true for this bucket.",
        "It was last true at 2026-03-10 12:00:15, 30s before.",
        "It last fired from 2026-03-10 12:00:00 to 2026-03-10 12:00:30 (recovered).",
    ]
    assert why["expression"]["true"] is False


async def test_an_alert_that_never_fired_says_how_near_each_bucket_is(past):
    await past.record(used(10, 40))

    text = await past.text("Low", when=at(15))

    assert "Not firing: the expression is not true for any bucket." in text
    assert "Nor was it at any of the 2 polls since" in text
    assert "(dict_rate_limit_utilization_percent)  = ENTRIES_WRITE 40, CLAIMS_READ 0" in text


async def test_it_is_about_the_poll_that_was_the_last_then(past):
    await past.record(used(82, 10, 82))

    states = [(await past.document("Low", "--policy", POLICY, when=at(s)))["state"] for s in (0, 14.9, 15, 29, 30, 44)]

    assert states == ["firing", "firing", "inactive", "inactive", "firing", "firing"]


async def test_data_that_is_not_known_is_said(past):
    await past.record(used(10, 10))

    text = await past.text("Fast", "--policy", POLICY, when=at(15))

    assert "No data of dict_rate_limit_consumption_rate_per_minute: it was not known for this bucket." in text


async def test_data_that_was_not_confirmed_in_time_is_said(past):
    await past.record([*used(10), *(failed(15.0 * n) for n in range(1, 25))])

    text = await past.text("Low", "--policy", POLICY, when=at(360))

    assert "No data of dict_rate_limit_utilization_percent: no answer held this bucket within 5m." in text
    assert "The Bridge did not answer that poll" in text


async def test_a_bucket_that_the_answer_no_longer_holds_is_said(past):
    gone = [poll(bucket(policy="CLAIMS_READ"), seconds=15.0 * n) for n in range(1, 25)]
    await past.record([*used(10), *gone])

    text = await past.text("Low", "--policy", POLICY, when=at(360))

    assert "the answer did not hold this bucket" in text


async def test_an_alert_held_through_an_outage_goes_on_by_that_branch(past):
    await past.record([*used(82), failed(15, last_success_at=at(0)), *(failed(15.0 * n) for n in range(2, 25))])

    text = await past.text("Low", when=at(360))

    assert "it keeps firing by `max by (participant, policy) (ALERTS{" in text


async def test_an_alert_about_the_participant_needs_no_policy(past):
    await past.record([*used(10), failed(15)])

    why = await past.document("Down", "--policy", POLICY, when=at(15))

    assert (why["state"], why["policy"]) == ("firing", None)


async def test_a_rule_that_failed_is_reported_with_what_it_said(past):
    await past.record(used(10, 10))

    text = await past.text("Twice", when=at(15))

    assert "The rule failed at that poll, which leaves its alerts as they are: vector contains metrics" in text


async def test_a_time_after_the_last_poll_is_said(past):
    await past.record(used(82))

    assert "There was no poll from then to 2026-03-10 12:05:00" in await past.text("Low", when=at(300))


async def test_rules_that_were_not_in_force_are_said(past, tmp_path):
    quiet = rule_file(tmp_path, DOWN, name="quiet.yml")
    await past.record(used(82), rules=quiet)

    assert "The database has no such alert firing then: other rules were in force." in await past.text(
        "Low", when=at(0)
    )


async def test_rules_that_let_it_fire_at_another_time_are_said(past, tmp_path):
    at_once = rule_file(tmp_path, SLOW.replace("for: 1m", "for: 0s"), name="at-once.yml")
    await past.record(used(*[60] * 6), rules=at_once)

    text = await past.text("Slow", when=at(75))

    assert "Firing since 2026-03-10 12:01:00 (15s); true since 2026-03-10 12:00:00." in text
    assert "The database has it firing since 2026-03-10 12:00:00: other rules were in force." in text


async def test_the_rules_that_were_in_force_need_no_word_about_others(past):
    await past.record(used(*[60] * 6))

    assert "other rules" not in await past.text("Slow", when=at(75))


async def test_an_alert_that_fired_before_the_replay_begins_has_its_own_beginning(past):
    await past.record(used(*[82] * 600))

    why = await past.document("Low", when=at(599 * 15))

    assert why["firing_since"] == at(0).isoformat()


async def test_every_participant_that_has_it_open_is_explained(past):
    polls = [poll(bucket(0), seconds=0, participant=p) for p in ("11111111", "22222222")]
    polls.append(poll(bucket(36_000), seconds=1, participant="33333333"))
    await past.record(polls)

    explanations = json.loads(await past.text("Low", "--output=json", when=at(2)))
    (one,) = json.loads(await past.text("Low", "--output=json", "--participant=33333333", when=at(2)))

    assert [why["participant"] for why in explanations] == ["11111111", "22222222"]
    assert one["state"] == "inactive"


async def test_values_that_json_cannot_hold_are_text(past, tmp_path):
    past.rules = rule_file(
        tmp_path,
        "alert: Soon\nexpr: dict_rate_limit_exhaustion_projection_seconds < 60\nlabels: {severity: info}",
        name="soon.yml",
    )
    await past.record([poll(observed(bucket(), rate=0.0, empty=float("inf")))])

    why = await past.document("Soon", when=at(0))

    assert why["expression"]["parts"][0]["series"][0]["value"] == "+Inf"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["Lowe"], "no alerting rule is named Lowe; did you mean Low?"),
        (["Nonsense"], "no alerting rule is named Nonsense; there are Down, Fast, Low, Slow, Twice"),
        (["Low", "--policy=ENTRIES_RITE"], "12345678 had no bucket ENTRIES_RITE then; did you mean ENTRIES_WRITE?"),
        (["Low", "--participant=99999999"], "no poll of participant 99999999"),
    ],
)
async def test_what_is_unknown_is_said_with_the_nearest(past, arguments, reason):
    await past.record(used(10))

    result = await past.ran(*arguments, when=at(0))

    assert reason in str(result.exception)


async def test_a_time_before_all_polls_is_said(past):
    await past.record(used(10))

    assert "the database holds no poll of 12345678 from" in str((await past.ran("Low", when=at(-15))).exception)


async def test_an_alert_on_what_is_recorded_is_explained(past, tmp_path):
    records = "record: a:used\nexpr: max by (participant, policy) (dict_rate_limit_utilization_percent)"
    high = "alert: High\nexpr: a:used > 80\nlabels: {severity: info}"
    past.rules = rule_file(tmp_path, records, high, name="recorded.yml")
    await past.record([*used(60, 85), failed(seconds=600)], past.rules)

    firing = await past.text("High", when=at(15))
    assert "Firing since 2026-03-10 12:00:15 (0s)." in firing
    assert any(line.strip().endswith("a:used  = 85") for line in firing.splitlines())
    stale = await past.text("High", "--policy=ENTRIES_WRITE", when=at(600))
    assert "Not firing: the expression is not true for this bucket." in stale
    assert "No data of dict_rate_limit_utilization_percent: no answer held this bucket within 5m." in stale
