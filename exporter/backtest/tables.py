"""A backtest's report as tables for a terminal, as Markdown for a pull request, as JSON for programs, as HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from exporter.backtest.comparison import Change, Pair, Total
from exporter.backtest.report import (
    MOST_FAILURES,
    Report,
    figures,
    gap_summary,
    scope,
    select_pairs,
    verdict,
    warm_up_note,
)
from exporter.clock import utc
from exporter.durations import short
from exporter.errors import DictRateLimitError
from exporter.history.episodes import Episode
from exporter.numbers import counted

_MARKS: Final = {Change.NEW: "+", Change.REMOVED: "-", Change.CHANGED: "~", Change.SAME: " "}
_MOST_GAPS: Final = 5
_FIGURES_HEADER: Final = ("ALERTS", "was", "FIRING", "was", "LONGEST", "NEW", "GONE", "OTHERWISE")
_RULES_HEADER: Final = ("ALERT", "SEVERITY", *_FIGURES_HEADER)
_POLICIES_HEADER: Final = ("ALERT", "POLICY", *_FIGURES_HEADER)
_ALERTS_HEADER: Final = ("", "BEGAN (UTC)", "FIRED FOR", "ALERT", "SEVERITY", "PARTICIPANT", "POLICY", "HOW IT ENDED")


def render(report: Report, output: str, limit: int) -> str:
    """Returns the report as ``table``, ``json``, ``markdown`` or ``html``; lists at most ``limit`` alerts.

    Raises DictRateLimitError where nothing was polled.
    """
    if not report.coverage.polls:
        raise DictRateLimitError(f"the database holds no poll from {report.period}")
    if output == "html":
        from exporter.backtest.html import html

        return html(report, limit)
    if output == "json":
        return as_json(report)
    return _markdown(report, limit) if output == "markdown" else _text(report, limit)


def _text(report: Report, limit: int) -> str:
    lines = [
        f"Backtest of {report.mine}, compared with {report.other}",
        scope(report),
        "",
        verdict(report),
        *_caveats(report),
    ]
    if report.pairs:
        lines += ["", *_text_table(_RULES_HEADER, _rule_rows(report))]
        lines += ["", *_text_table(_POLICIES_HEADER, _policy_rows(report))]
        pairs, left_out = select_pairs(report.pairs, limit)
        lines += ["", *_text_table(_ALERTS_HEADER, [_alert_row(report, pair) for pair in pairs])]
        lines += _left_out(left_out)
        if len({pair.change for pair in report.pairs}) > 1 or report.changes[Change.SAME] == 0:
            lines += ["", "+ new   - gone   ~ at other times"]
    return "\n".join(lines)


def _markdown(report: Report, limit: int) -> str:
    other = f"`{report.other}`" if report.other.endswith((".yml", ".yaml")) else report.other
    lines = [f"### Backtest of `{report.mine}`, compared with {other}", "", f"**{verdict(report)}**", "", scope(report)]
    lines += [f"\n{line}" if not line.startswith(" ") else f"-{line}" for line in _caveats(report)]
    if report.pairs:
        lines += ["", *_markdown_table(_RULES_HEADER, _rule_rows(report))]
        pairs, left_out = select_pairs(report.pairs, limit)
        lines += ["", f"<details><summary>{counted(len(report.pairs), 'alert')}</summary>", ""]
        lines += _markdown_table(_ALERTS_HEADER, [_alert_row(report, pair) for pair in pairs])
        lines += ["", *_left_out(left_out)] if left_out else []
        lines += ["", "`+` new, `-` gone, `~` at other times", "", "</details>", ""]
        lines += ["<details><summary>By policy</summary>", ""]
        lines += [*_markdown_table(_POLICIES_HEADER, _policy_rows(report)), "", "</details>"]
    return "\n".join(lines)


def _caveats(report: Report) -> list[str]:
    """Returns what makes the verdict less than certain."""
    lines = [gap_summary(report)]
    for participant, gap in report.gaps[:_MOST_GAPS]:
        lines.append(f"  {participant}  {utc(gap.begin)} to {utc(gap.end)}  {short(gap.seconds)}")
    if report.coverage.gap_count > _MOST_GAPS:
        lines.append(f"  and {report.coverage.gap_count - _MOST_GAPS:,} shorter ones")
    lines += filter(None, [warm_up_note(report)])
    for name, participant, failed in report.failed[:MOST_FAILURES]:
        polls = counted(failed.polls, "poll")
        lines.append(f"{failed.group}/{failed.name} of {name} failed at {polls} of {participant}: {failed.message}")
    if len(report.failed) > MOST_FAILURES:
        lines.append(f"and {len(report.failed) - MOST_FAILURES:,} more that failed; --output json has all of them")
    return lines


def _left_out(count: int) -> list[str]:
    return [f"... and {count:,} more; --limit lists more, --output json all of them"] if count else []


def _rule_rows(report: Report) -> list[tuple[str, ...]]:
    return [(total.name, total.severity, *figures(total)) for total in report.by_rule]


def _policy_rows(report: Report) -> list[tuple[str, ...]]:
    return [(total.name, total.policy, *figures(total)) for total in report.by_policy]


def _alert_row(report: Report, pair: Pair) -> tuple[str, ...]:
    episode, until = pair.episode, report.period.until
    ending: str = episode.reason or "still fires"
    if pair.change is Change.CHANGED and pair.other is not None:
        ending += f"; was {pair.other.began_at:%m-%d %H:%M:%S} for {short(pair.other.seconds(until))}"
    return (
        _MARKS[pair.change],
        utc(episode.began_at),
        short(episode.seconds(until)),
        episode.name,
        episode.severity,
        episode.participant,
        episode.policy or "",
        ending,
    )


def _text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [
        index > 1 and all(not cell or cell[0].isdigit() for cell in column[1:]) for index, column in enumerate(columns)
    ]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in (header, *rows)
    ]


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def as_json(report: Report) -> str:
    """Returns everything, every alert included. Times are ISO 8601 in UTC, durations seconds."""
    coverage = report.coverage
    document = {
        "rules": report.mine,
        "against": report.other,
        "since": report.period.since,
        "until": report.period.until,
        "replayed_since": report.replayed_since,
        "participants": report.participants,
        "policy": report.policy,
        "polls": coverage.polls,
        "polls_not_answered": coverage.failed_polls,
        "bucket_observations": coverage.observations,
        "gaps": {
            "count": coverage.gap_count,
            "seconds": coverage.gap_seconds,
            "longest": [{"participant": participant} | asdict(gap) for participant, gap in report.gaps],
        },
        "failing_rules": [
            {
                "rules": name,
                "participant": participant,
                "group": failed.group,
                "rule": failed.name,
                "polls": failed.polls,
                "error": failed.message,
            }
            for name, participant, failed in report.failed
        ],
        "totals": {"rules": asdict(report.mine_total), "against": asdict(report.other_total), **report.changes},
        "by_rule": [_total(total) for total in report.by_rule],
        "by_policy": [_total(total) | {"policy": total.policy} for total in report.by_policy],
        "alerts": [
            {"change": pair.change, "rules": _episode(pair.mine), "against": _episode(pair.other)}
            for pair in report.pairs
        ],
    }
    return json.dumps(document, indent=2, default=datetime.isoformat)


def _total(total: Total) -> dict[str, Any]:
    return {
        "alertname": total.name,
        "severity": total.severity,
        "rules": asdict(total.mine),
        "against": asdict(total.other),
        **total.changes,
    }


def _episode(episode: Episode | None) -> dict[str, Any] | None:
    if episode is None:
        return None
    return {
        "alertname": episode.name,
        "severity": episode.severity,
        "participant": episode.participant,
        "policy": episode.policy,
        "labels": dict(episode.labels),
        "fingerprint": episode.fingerprint,
        "starts_at": episode.began_at,
        "ends_at": episode.resolved_at,
        "reason": episode.reason,
    }
