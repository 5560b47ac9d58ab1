"""Prometheus accepts every expression that our engine accepts: random ones, with tokens added, removed and replaced."""

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

TOKENS = (
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
    count = int(os.environ.get("DIFFERENTIAL_CASES", "200"))
    accepted: list[str] = []
    while len(accepted) < count:
        text = _mutated(random)
        try:
            compile_expression(text)
        except ExpressionRefused:
            continue
        accepted.append(text)
    rules = [{"alert": f"Rule{index}", "expr": text} for index, text in enumerate(accepted)]
    (tmp_path / "rules.yml").write_text(yaml.dump({"groups": [{"name": "g", "rules": rules}]}, Dumper=yaml.CSafeDumper))

    verdict = promtool.check_rules(tmp_path / "rules.yml")

    refused = re.findall(r'"Rule(\d+)": (.*)', verdict.output)
    assert [(accepted[int(index)], why) for index, why in refused] == []
    assert verdict.passed, verdict.output


def _mutated(random: Random) -> str:
    tree = Expressions(random, ("Rule0",), alone=True).vector(
        random.choice(("bucket", "participant")), random.choice((1, 2, 3))
    )
    tokens = re.findall(r'"[^"]*"|[A-Za-z_:][\w:]*|\d[\w.]*|==|!=|>=|<=|=~|!~|\s+|.', tree.text)
    for _ in range(random.choice((1, 1, 2, 3))):
        index = random.randrange(len(tokens))
        tokens[index : index + random.choice((0, 0, 1))] = random.choice(
            ([], [" ", random.choice(TOKENS), " "], [random.choice(tokens)])
        )
        tokens = tokens or ["1"]
    return "".join(tokens)
