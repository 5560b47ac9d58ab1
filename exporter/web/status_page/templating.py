"""The pages' templates. jinja2 is imported when a page is first rendered."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from exporter import __version__
from exporter.durations import spaced
from exporter.numbers import counted
from exporter.web.status_page.chart import sparkline, sparkline_area
from exporter.web.status_page.formatting import CRITICAL_LEFT_PERCENT, WARNING_LEFT_PERCENT, breakable, figure, shorter

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, *, refresh_seconds: float | None = None, **context: Any) -> str:
    """Returns a template of the folder ``templates`` as HTML; None: the page is not loaded again."""
    return _environment().get_template(template).render(context, refresh_seconds=refresh_seconds)


def message(status: int, title: str, text: str, root: str, back: str = "") -> HTMLResponse:
    """Returns a page that says why there is no other; ``root`` leads to the status page, ``back`` on from there."""
    now = datetime.now(UTC)
    html = render("message.html", root=root, now=now, title=title, text=text, back=back)
    return HTMLResponse(html, status)


def root_of(request: Request) -> str:
    """Returns the relative path from a page to the status page: browsers count the slashes of the address as sent."""
    deep = request.scope["raw_path"].count(b"/") - 1
    return "../" * deep or "./"


def bucket_path(participant: str, policy: str) -> str:
    """Returns where a bucket's page is, from the status page."""
    return f"buckets/{quote(participant, safe='')}/{quote(policy, safe='')}"


def number(value: float) -> str:
    """Returns tokens or a count: ``36,000``, ``9.5``."""
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"


def share(percent: float) -> str:
    """Returns a percentage as precise as it matters: ``74``, ``8.3``."""
    return f"{percent:.0f}" if percent >= 10 or percent == 0 else f"{percent:.1f}"


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
        "clock": "{:%Y-%m-%d %H:%M:%S}".format,
        "code": _code,
        "duration": spaced,
        "figure": figure,
        "instant": "{:%Y-%m-%dT%H:%M:%SZ}".format,
        "number": number,
        "share": share,
        "shorter": shorter,
    }
    environment.globals |= {
        "bucket_path": bucket_path,
        "counted": counted,
        "critical_percent": CRITICAL_LEFT_PERCENT,
        "sparkline": sparkline,
        "sparkline_area": sparkline_area,
        "version": __version__,
        "warning_percent": WARNING_LEFT_PERCENT,
    }
    return environment


def _code(sentence: str) -> Markup:
    """Returns a sentence with what stands between backticks as code."""
    parts = sentence.split("`")
    return Markup("").join(Markup("<code>%s</code>") % part if n % 2 else escape(part) for n, part in enumerate(parts))


def _breakable(name: str) -> Markup:
    return Markup("<wbr>").join(breakable(name))  # join escapes each part
