"""Levels of tokens left."""

from __future__ import annotations

import re
from pathlib import Path

from exporter.web.status_page.levels import CRITICAL_LEFT_PERCENT, WARNING_LEFT_PERCENT

RULES = Path(__file__).parents[4] / "rules" / "dict-rate-limit.yml"


def test_the_marks_are_where_the_shipped_rules_warn():
    thresholds = set(
        re.findall(r"\(dict_rate_limit_utilization_percent and .*== 1\) >= (\d+)", RULES.read_text(encoding="utf-8"))
    )

    assert {f"{100 - WARNING_LEFT_PERCENT}", f"{100 - CRITICAL_LEFT_PERCENT}"} <= thresholds
