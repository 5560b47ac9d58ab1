"""A backtest's report as tables for a terminal, as Markdown for a pull request, as JSON for programs, as HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from exporter.backtest.comparison import Change, Pair, Total
from exporter.backtest.html import html
from exporter.backtest.report import MOST_FAILURES, Report
from exporter.clock import in_utc
from exporter.durations import short
from exporter.errors import DictRateLimitError
from exporter.history.episodes import Episode
from exporter.numbers import counted

_MARKS: Final = {Change.NEW: "+", Change.REMOVED: "-", Change.CHANGED: "~", Change.SAME: " "}
_MOST_GAPS: Final = 5
_FIGURES: Final = ("ALERTS", "was", "FIRING", "was", "LONGEST", "NEW", "GONE", "OTHERWISE")
_ALERTS: Final = ("", "BEGAN (UTC)", "FIRED FOR", "ALERT", "SEVERITY", "PARTICIPANT", "POLICY", "HOW IT ENDED")


def render(report: Report, output: str, limit: int) -> str:
    """Returns the report as ``table``, ``json``, ``markdown`` or ``html``; lists at most ``limit`` alerts.

    Raises DictRateLimitError where nothing was polled.
    """
    if not report.coverage.polls:
        raise DictRateLimitError(f"the database holds no poll from {report.period}")
    if output == "json":
        return as_json(report)
    return {"table": _text, "markdown": _markdown, "html": html}[output](report, limit)


def _text(report: Report, limit: int) -> str:
    lines = [f"Backtest of {report.mine}, compared with {report.other}", report.scope, ""]
    lines += [report.verdict, *_caveats(report)]
    if report.pairs:
        alerts, left_out = _by_alert(report, limit)
        for rows in (_by_rule(report), _by_policy(report), alerts):
            lines += ["", *_text_table(rows)]
        lines += left_out
        if report.total.changes[Change.SAME] < len(report.pairs):
            lines += ["", "+ new   - gone   ~ at other times"]
    return "\n".join(lines)


def _markdown(report: Report, limit: int) -> str:
    other = f"`{report.other}`" if report.other.endswith((".yml", ".yaml")) else report.other
    lines = [f"### Backtest of `{report.mine}`, compared with {other}", "", f"**{report.verdict}**", "", report.scope]
    lines += [f"\n{line}" if not line.startswith(" ") else f"-{line}" for line in _caveats(report)]
    if report.pairs:
        alerts, left_out = _by_alert(report, limit)
        lines += ["", *_markdown_table(_by_rule(report))]
        lines += ["", f"<details><summary>{counted(len(report.pairs), 'alert')}</summary>", ""]
        lines += _markdown_table(alerts)
        lines += ["", *left_out] if left_out else []
        lines += ["", "`+` new, `-` gone, `~` at other times", "", "</details>", ""]
        lines += ["<details><summary>By policy</summary>", ""]
        lines += [*_markdown_table(_by_policy(report)), "", "</details>"]
    return "\n".join(lines)


def _caveats(report: Report) -> list[str]:
    """Returns what makes the verdict less than certain."""
    lines = [report.gap_summary]
    for participant, gap in report.gaps[:_MOST_GAPS]:
        lines.append(f"  {participant}  {in_utc(gap.begin)} to {in_utc(gap.end)}  {short(gap.seconds)}")
    if report.coverage.gap_count > _MOST_GAPS:
        lines.append(f"  and {report.coverage.gap_count - _MOST_GAPS:,} shorter ones")
    lines += filter(None, [report.warm_up_note])
    for name, participant, failed in report.failed[:MOST_FAILURES]:
        polls = counted(failed.polls, "poll")
        lines.append(f"{failed.group}/{failed.name} of {name} failed at {polls} of {participant}: {failed.message}")
    if len(report.failed) > MOST_FAILURES:
        lines.append(f"and {len(report.failed) - MOST_FAILURES:,} more that failed; --output json has all of them")
    return lines


def _by_rule(report: Report) -> list[tuple[str, ...]]:
    return [("ALERT", "SEVERITY", *_FIGURES), *((t.name, t.severity, *t.figures()) for t in report.by_rule)]


def _by_policy(report: Report) -> list[tuple[str, ...]]:
    return [("ALERT", "POLICY", *_FIGURES), *((t.name, t.policy, *t.figures()) for t in report.by_policy)]


def _by_alert(report: Report, limit: int) -> tuple[list[tuple[str, ...]], list[str]]:
    """Returns the rows, and a line on those that are left out."""
    pairs, count = report.select_pairs(limit)
    left_out = [f"... and {count:,} more; --limit lists more, --output json all of them"] if count else []
    return [_ALERTS, *(_alert_row(report, pair) for pair in pairs)], left_out


def _alert_row(report: Report, pair: Pair) -> tuple[str, ...]:
    episode, until = pair.episode, report.period.until
    ending: str = episode.reason or "still fires"
    if pair.change is Change.CHANGED and pair.other is not None:
        ending += f"; was {pair.other.began_at:%m-%d %H:%M:%S} for {short(pair.other.seconds(until))}"
    return (
        _MARKS[pair.change],
        in_utc(episode.began_at),
        short(episode.seconds(until)),
        episode.name,
        episode.severity,
        episode.participant,
        episode.policy or "",
        ending,
    )


def _text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [
        index > 1 and all(not cell or cell[0].isdigit() for cell in column[1:]) for index, column in enumerate(columns)
    ]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in rows
    ]


def _markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    header, *rest = rows
    lines = [header, ["---"] * len(header), *rest]
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
        "totals": _sides(report.total),
        "by_rule": [_total(total) for total in report.by_rule],
        "by_policy": [_total(total) | {"policy": total.policy} for total in report.by_policy],
        "alerts": [
            {"change": pair.change, "rules": _episode(pair.mine), "against": _episode(pair.other)}
            for pair in report.pairs
        ],
    }
    return json.dumps(document, indent=2, default=datetime.isoformat)


def _total(total: Total) -> dict[str, Any]:
    return {"alertname": total.name, "severity": total.severity} | _sides(total)


def _sides(total: Total) -> dict[str, Any]:
    return {"rules": asdict(total.mine), "against": asdict(total.other), **total.changes}


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
