"""A backtest's report for a terminal, for a pull request, and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from exporter.backtest.comparison import Change, Line, Side
from exporter.backtest.report import Report, beginning_told, gaps_told, scope, verdict
from exporter.durations import short
from exporter.numbers import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.backtest.comparison import Pair
    from exporter.history.episodes import Episode

MARKS: Final = {Change.NEW: "+", Change.GONE: "-", Change.CHANGED: "~", Change.SAME: " "}
FAILING_TOLD: Final = 10
"""A rule that fails mostly does so for each participant, and these may be a thousand."""
_LONGEST_GAPS: Final = 5
_RULES_HEADER: Final = ("ALERT", "SEVERITY", "ALERTS", "was", "FIRING", "was", "LONGEST", "NEW", "GONE", "OTHERWISE")
_ALERTS_HEADER: Final = ("", "BEGAN (UTC)", "FIRED FOR", "ALERT", "SEVERITY", "PARTICIPANT", "POLICY", "HOW IT ENDED")


def text(shown: Report, limit: int) -> str:
    """Returns tables for a terminal; at most ``limit`` alerts are listed."""
    parts = [f"Backtest of {shown.mine}, beside {shown.other}", scope(shown), "", verdict(shown), *_doubts(shown)]
    if shown.pairs:
        parts += ["", _table(_RULES_HEADER, [_rule_cells(line) for line in shown.by_rule])]
        policy_header = ("ALERT", "POLICY", *_RULES_HEADER[2:])
        parts += ["", _table(policy_header, [_policy_cells(line) for line in shown.by_policy])]
        shown_pairs, left = listed(shown.pairs, limit)
        parts += ["", _table(_ALERTS_HEADER, [_alert_cells(shown, pair) for pair in shown_pairs])]
        parts += [_left_out(left)] if left else []
        if len({pair.change for pair in shown.pairs}) > 1 or shown.changes[Change.SAME] == 0:
            parts += ["", "+ new   - gone   ~ at other times"]
    return "\n".join(parts)


def markdown(shown: Report, limit: int) -> str:
    """Returns the report for a pull request's comment; at most ``limit`` alerts are listed."""
    parts = [f"### Backtest of `{shown.mine}`, beside {_named(shown.other)}", "", f"**{verdict(shown)}**"]
    parts += [
        "",
        scope(shown),
        *(f"\n{doubt}" if not doubt.startswith(" ") else f"-{doubt}" for doubt in _doubts(shown)),
    ]
    if shown.pairs:
        parts += ["", *_pipes(_RULES_HEADER, [_rule_cells(line) for line in shown.by_rule])]
        shown_pairs, left = listed(shown.pairs, limit)
        parts += ["", f"<details><summary>{counted(len(shown.pairs), 'alert')}</summary>", ""]
        parts += _pipes(("", *_ALERTS_HEADER[1:]), [_alert_cells(shown, pair) for pair in shown_pairs])
        parts += ["", _left_out(left)] if left else []
        parts += ["", "`+` new, `-` gone, `~` at other times", "", "</details>", ""]
        parts += ["<details><summary>By policy</summary>", ""]
        parts += _pipes(("ALERT", "POLICY", *_RULES_HEADER[2:]), [_policy_cells(line) for line in shown.by_policy])
        parts += ["", "</details>"]
    return "\n".join(parts)


def as_json(shown: Report) -> str:
    """Returns everything, every alert included. Times are ISO 8601 in UTC, durations seconds."""
    period = shown.period
    return json.dumps(
        {
            "rules": shown.mine,
            "against": shown.other,
            "since": period.since.isoformat(),
            "until": period.until.isoformat(),
            "replayed_since": shown.replayed_since.isoformat() if shown.replayed_since else None,
            "participants": shown.participants,
            "policy": shown.policy,
            "polls": shown.polls,
            "polls_not_answered": shown.failed_polls,
            "bucket_observations": shown.observations,
            "gaps": {
                "count": shown.gap_count,
                "seconds": shown.gap_seconds,
                "longest": [
                    {"participant": g.participant, "begin": g.gap.begin.isoformat(), "end": g.gap.end.isoformat()}
                    for g in shown.gaps
                ],
            },
            "failing_rules": [
                {
                    "rules": name,
                    "participant": p,
                    "group": f.group,
                    "rule": f.name,
                    "polls": f.polls,
                    "error": f.message,
                }
                for name, p, f in shown.failing
            ],
            "totals": {"rules": _side(shown.mine_total), "against": _side(shown.other_total), **shown.changes},
            "by_rule": [_line(line) for line in shown.by_rule],
            "by_policy": [_line(line) | {"policy": line.policy} for line in shown.by_policy],
            "alerts": [
                {"change": pair.change, "rules": _episode(pair.mine), "against": _episode(pair.other)}
                for pair in shown.pairs
            ],
        },
        indent=2,
    )


def _doubts(shown: Report) -> list[str]:
    """Returns what makes the verdict less than certain."""
    told = [gaps_told(shown)]
    for g in shown.gaps[:_LONGEST_GAPS]:
        begin, end = f"{g.gap.begin:%Y-%m-%d %H:%M:%S}", f"{g.gap.end:%Y-%m-%d %H:%M:%S}"
        told.append(f"  {g.participant}  {begin} to {end}  {short(g.gap.seconds)}")
    if shown.gap_count > _LONGEST_GAPS:
        told.append(f"  and {shown.gap_count - _LONGEST_GAPS:,} shorter ones")
    told += filter(None, [beginning_told(shown)])
    for name, participant, failing in shown.failing[:FAILING_TOLD]:
        polls = counted(failing.polls, "poll")
        told.append(f"{failing.group}/{failing.name} of {name} failed at {polls} of {participant}: {failing.message}")
    if len(shown.failing) > FAILING_TOLD:
        told.append(f"and {len(shown.failing) - FAILING_TOLD:,} more that failed; --output json has all of them")
    return told


def listed(pairs: Sequence[Pair], limit: int) -> tuple[Sequence[Pair], int]:
    """Returns the alerts to list, and how many are left out: those that are the same go first."""
    if len(pairs) <= limit:
        return pairs, 0
    differing = [pair for pair in pairs if pair.change is not Change.SAME]
    kept = differing[:limit] if differing else list(pairs[:limit])
    return kept, len(pairs) - len(kept)


def _left_out(left: int) -> str:
    return f"... and {left:,} more; --limit lists more, --output json all of them"


def _rule_cells(line: Line) -> tuple[str, ...]:
    return line.name, line.severity, *_figures(line)


def _policy_cells(line: Line) -> tuple[str, ...]:
    return line.name, line.policy, *_figures(line)


def _figures(line: Line) -> tuple[str, ...]:
    mine, other, changes = line.mine, line.other, line.changes
    return (
        f"{mine.alerts:,}",
        f"{other.alerts:,}",
        short(mine.seconds),
        short(other.seconds),
        short(mine.longest_seconds),
        *(f"{changes[c]:,}" if changes[c] else "" for c in (Change.NEW, Change.GONE, Change.CHANGED)),
    )


def _alert_cells(shown: Report, pair: Pair) -> tuple[str, ...]:
    episode = pair.episode
    return (
        MARKS[pair.change],
        f"{episode.began_at:%Y-%m-%d %H:%M:%S}",
        short(episode.seconds(shown.period.until)),
        episode.name,
        episode.severity,
        episode.participant,
        episode.policy or "",
        _ending(shown, pair),
    )


def _ending(shown: Report, pair: Pair) -> str:
    ended = pair.episode.reason or "still fires"
    if pair.change is not Change.CHANGED or pair.other is None:
        return ended
    other = pair.other
    return f"{ended}; was {other.began_at:%m-%d %H:%M:%S} for {short(other.seconds(shown.period.until))}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(len(header))]
    numeric = [all(not row[p] or row[p][0].isdigit() for row in rows) and p > 1 for p in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        for row in (header, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def _pipes(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _named(name: str) -> str:
    return f"`{name}`" if name.endswith((".yml", ".yaml")) else name


def _side(total: Side) -> dict[str, Any]:
    return {"alerts": total.alerts, "firing_seconds": total.seconds, "longest_seconds": total.longest_seconds}


def _line(line: Line) -> dict[str, Any]:
    return {
        "alertname": line.name,
        "severity": line.severity,
        "rules": _side(line.mine),
        "against": _side(line.other),
        **line.changes,
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
        "starts_at": episode.began_at.isoformat(),
        "ends_at": episode.resolved_at.isoformat() if episode.resolved_at else None,
        "reason": episode.reason,
    }
