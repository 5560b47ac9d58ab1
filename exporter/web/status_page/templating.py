"""The pages' templates. jinja2 is imported when somebody first asks for a page."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from exporter.durations import spaced
from exporter.numbers import counted
from exporter.web.status_page.formatting import breakable, shorter
from exporter.web.status_page.status import figure

if TYPE_CHECKING:
    from datetime import datetime

    from jinja2 import Environment, Template
    from markupsafe import Markup


def template(name: str) -> Template:
    """Returns a template of the folder ``templates``."""
    return _environment().get_template(name)


def bucket_path(participant: str, policy: str) -> str:
    """Returns where a bucket's page is, from the status page."""
    return f"buckets/{quote(participant, safe='')}/{quote(policy, safe='')}"


def number(value: float) -> str:
    """Returns tokens or a count: ``36,000``, ``9.5``."""
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"


def share(percent: float) -> str:
    """Returns a percentage as precise as it matters: ``74``, ``8.3``."""
    return f"{percent:.0f}" if percent >= 10 or percent == 0 else f"{percent:.1f}"


def clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def instant(at: datetime) -> str:
    """Returns a time as links and ``<time>`` elements have it: ``2026-03-10T12:00:00Z``."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("exporter.web.status_page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "breakable": _breakable,
        "clock": clock,
        "code": _code,
        "duration": spaced,
        "figure": figure,
        "instant": instant,
        "number": number,
        "share": share,
        "shorter": shorter,
    }
    environment.globals |= {"bucket_path": bucket_path, "counted": counted}
    return environment


def _code(words: str) -> Markup:
    """Returns a sentence with what stands between backticks as code."""
    from markupsafe import Markup, escape

    parts = (Markup("<code>%s</code>") % part if n % 2 else escape(part) for n, part in enumerate(words.split("`")))
    return Markup("").join(parts)


def _breakable(name: str) -> Markup:
    from markupsafe import Markup

    return Markup("<wbr>").join(breakable(name))  # join escapes each part
