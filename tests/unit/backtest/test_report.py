from __future__ import annotations

import json

import pytest

from exporter.backtest.backtest import FailedRule
from exporter.backtest.tables import as_json, render
from exporter.errors import DictRateLimitError
from exporter.history.replay import Gap
from tests.support.builders import at
from tests.support.reports import episode, reported

MIXED = reported(
    [episode(0, 60), episode(600, 720), episode(1200, 1260, "High")],
    [episode(0, 60), episode(630, 720), episode(3000, None, policy="CLAIMS_READ")],
)


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (reported(), "No alert, neither from new.yml nor in what was raised."),
        (reported([episode(0, 60)], [episode(0, 60)]), "The same 1 alert, begun and ended at the same polls."),
        (reported([episode(0, 60)]), "1 alert instead of 0: 1 new."),
        (
            reported([episode(0, 60), episode(90, 99)], [episode(0, 60)], against="old.yml"),
            "2 alerts instead of 1 (+100 %): 1 new, 1 the same.",
        ),
        (MIXED, "3 alerts instead of 3: 1 new, 1 gone, 1 at other times, 1 the same."),
    ],
)
def test_the_verdict_is_one_sentence(report, sentence):
    assert report.verdict == sentence


def test_the_scope_says_what_was_looked_at():
    assert reported(policy="CLAIMS_READ").scope == (
        "2026-03-10 12:00:00 to 2026-03-10 13:00:00 UTC (1h), 1 participant, policy CLAIMS_READ only, "
        "240 polls (3 not answered), 7,440 bucket observations"
    )


def test_alerts_of_other_policies_are_left_out():
    report = reported([episode(0, 60), episode(0, 60, policy="CLAIMS_READ")], policy="CLAIMS_READ")

    assert [pair.episode.policy for pair in report.pairs] == ["CLAIMS_READ"]


def test_the_table_marks_what_differs():
    lines = render(MIXED, "table", 50).splitlines()

    marked = [line for line in lines if line.endswith(("recovered", "still fires")) or "; was" in line]
    assert [line[0] for line in marked] == [" ", "~", "+", "-"]
    assert marked[1].endswith("recovered; was 03-10 12:10:30 for 1m30s")
    assert lines[-1] == "+ new   - gone   ~ at other times"


def test_the_tables_columns_stand_under_one_another():
    lines = render(MIXED, "table", 50).splitlines()

    header = next(line for line in lines if "BEGAN" in line)
    rows = [line for line in lines if "2026-03-10 12:" in line and "ENTRIES_WRITE" in line]
    assert {row.index("ENTRIES_WRITE") for row in rows} == {header.index("POLICY")}


def test_of_many_alerts_those_that_differ_are_listed_first():
    report = reported(
        [episode(60.0 * n, 60.0 * n + 30) for n in range(50)], [episode(60.0 * n, 60.0 * n + 30) for n in range(49)]
    )

    text = render(report, "table", 5)
    page = render(report, "html", 5)

    assert "... and 49 more; --limit lists more, --output json all of them" in text
    assert sum("recovered" in line for line in text.splitlines()) == 1
    assert "and 49 more" in page
    assert page.count('<td class="change') == page.count('<td class="change new">') == 1


def test_gaps_and_failing_rules_are_reported():
    report = reported(
        gaps=[Gap(at(60), at(360)), *(Gap(at(600 + 60 * n), at(640 + 60 * n)) for n in range(6))],
        failing=[FailedRule("g", "Twice", 12, "same labelset")],
    )

    text = render(report, "table", 5)

    assert "7 gaps in the history, 9m in all: nothing was polled then, so no rule was evaluated." in text
    assert "  12345678  2026-03-10 12:01:00 to 2026-03-10 12:06:00  5m" in text
    assert "  and 2 shorter ones" in text
    assert "g/Twice of new.yml failed at 12 polls of 12345678: same labelset" in text


@pytest.mark.parametrize("output", ["table", "markdown", "html"])
def test_a_thousand_failures_are_not_all_reported(output):
    report = reported(failing=[FailedRule("g", f"Rule{n}", 12, "same labelset") for n in range(1000)])

    text = render(report, output, 50)

    assert text.count("same labelset") == 10
    assert "990 more that failed" in text


def test_markdown_is_a_verdict_and_folded_tables():
    text = render(MIXED, "markdown", 50)

    assert text.startswith("### Backtest of `new.yml`, compared with what was raised\n\n**3 alerts instead of 3")
    assert text.count("<details>") == text.count("</details>") == 2
    tables_of = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables_of} == {11, 9, 10 + 1}


def test_markdown_names_both_files_and_escapes_bars():
    report = reported([episode(0, 60, policy="A|B")], against="old.yml")

    text = render(report, "markdown", 50)

    assert "compared with `old.yml`" in text
    assert r"A\|B" in text


def test_json_holds_every_alert():
    document = json.loads(render(MIXED, "json", 0))

    assert [alert["change"] for alert in document["alerts"]] == ["same", "changed", "new", "gone"]
    assert document["alerts"][3]["against"]["ends_at"] is None
    assert document["totals"] == {
        "rules": {"alerts": 3, "firing_seconds": 240.0, "longest_seconds": 120.0},
        "against": {"alerts": 3, "firing_seconds": 750.0, "longest_seconds": 600.0},
        "new": 1,
        "gone": 1,
        "changed": 1,
        "same": 1,
    }


def test_totals_by_rule_and_by_policy_agree():
    document = json.loads(as_json(MIXED))

    for lines in ("by_rule", "by_policy"):
        assert sum(line["rules"]["alerts"] for line in document[lines]) == 3
        assert sum(line["against"]["firing_seconds"] for line in document[lines]) == 750


@pytest.mark.parametrize("output", ["table", "json", "markdown", "html"])
def test_a_period_without_polls_is_an_error(output):
    with pytest.raises(DictRateLimitError, match="the database holds no poll from 2026-03-10 12:00:00"):
        render(reported(polls=0), output, 50)
