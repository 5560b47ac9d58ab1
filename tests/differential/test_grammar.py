"""Every expression that our engine accepts, Prometheus accepts: random ones, with words put in, out, and for others."""

from __future__ import annotations

import os
import re
from random import Random
from typing import TYPE_CHECKING

import pytest
import yaml

from exporter.rules.promql.expression import ExpressionRefused, compile_expression
from tests.support import promtool
from tests.support.random_expressions import Expressions

if TYPE_CHECKING:
    from pathlib import Path

WORDS = (
    "(", ")", "{", "}", ",", "+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=", "=", "=~", "!~",
    "and", "or", "unless", "on", "ignoring", "group_left", "group_right", "bool", "by", "without", "sum", "max",
    "count", "topk", "limitk", "fill", "5", "0x1F", "08", "017", "1e3", ".5", "5.", "1_0", "Inf", "nan", "inf",
    "NaN", "5m", '"a"', "'b'", "`c`", "policy", "participant", "dict_rate_limit_up", "dict_rate_limit_capacity",
    "ALERTS", "_a", "a:b", "offset", "[5m]", "[5]", "[5m:1m]", "@", "start()", "end()", "time()", "hour()",
    "vector(", "abs(", "clamp(", "round(", "ON", "AND", "Sum", "BY", "atan2", 'policy="A"', '"x"="1"', '"\\d"',
    "start", "#x",
)  # fmt: skip


@pytest.mark.prometheus
def test_promtool_accepts_every_expression_that_we_accept(tmp_path: Path) -> None:
    random = Random(os.environ.get("DIFFERENTIAL_SEED", "1"))
    wanted = int(os.environ.get("DIFFERENTIAL_CASES", "200"))
    accepted: list[str] = []
    while len(accepted) < wanted:
        text = _disturbed(random)
        try:
            compile_expression(text, None)
        except ExpressionRefused:
            continue
        accepted.append(text)
    rules = [{"alert": f"Rule{place}", "expr": text} for place, text in enumerate(accepted)]
    (tmp_path / "rules.yml").write_text(yaml.dump({"groups": [{"name": "g", "rules": rules}]}, Dumper=yaml.CSafeDumper))

    verdict = promtool.check_rules(tmp_path / "rules.yml")

    refused = re.findall(r'"Rule(\d+)": (.*)', verdict.told)
    assert [(accepted[int(place)], why) for place, why in refused] == []
    assert verdict.passed, verdict.told


def _disturbed(random: Random) -> str:
    made = Expressions(random, ("Rule0",), alone=True).vector(
        random.choice(("bucket", "participant")), random.choice((1, 2, 3))
    )
    words = re.findall(r'"[^"]*"|[A-Za-z_:][\w:]*|\d[\w.]*|==|!=|>=|<=|=~|!~|\s+|.', made.text)
    for _ in range(random.choice((1, 1, 2, 3))):
        place = random.randrange(len(words))
        words[place : place + random.choice((0, 0, 1))] = random.choice(
            ([], [" ", random.choice(WORDS), " "], [random.choice(words)])
        )
        words = words or ["1"]
    return "".join(words)
