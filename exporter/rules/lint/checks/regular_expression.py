"""A regular expression in a matcher that is anchored, as all are, or that matches whatever there is."""

from __future__ import annotations

import re
from typing import Final

from exporter.rules.golang import full_match
from exporter.rules.lint.context import Context, Problems

_ANY_VALUES: Final = ("", *"aZ_05-/. ", "00000208", "12345678", "KEYS_CHECK", "a/b c:d-e.f", "\u00e9\U0001f600")
"""What matches all of these is taken to match whatever there is."""

_ENDS: Final = re.compile(r"(?<!\\)(?:\\\\)*\$\Z")


def check(context: Context) -> Problems:
    for selected in context.selected:
        for matcher in selected.conditions:
            if matcher.operator not in {"=~", "!~"}:
                continue
            matches = full_match(matcher.value)
            if all(map(matches, _ANY_VALUES)):
                effect = "is always true, and can be left out" if matcher.operator == "=~" else "is never true"
                yield context.about(matcher, f" {effect}: the regular expression matches any value, also none")
            elif matcher.value.startswith("^") or _ENDS.search(matcher.value):
                yield context.about(matcher, " has anchors: a regular expression always is about the whole value")
