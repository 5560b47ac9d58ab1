"""A backtest's report in the form that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.backtest import tables
from exporter.errors import DictRateLimitError

if TYPE_CHECKING:
    from exporter.backtest.report import Report


def shown(report: Report, output: str, limit: int) -> str:
    """``output`` is ``table``, ``json``, ``markdown`` or ``html``.

    Raises DictRateLimitError where nothing was polled.
    """
    if not report.polls:
        period = report.period
        raise DictRateLimitError(
            f"the database holds no poll from {period.since:%Y-%m-%d %H:%M:%S} to {period.until:%Y-%m-%d %H:%M:%S} UTC"
        )
    if output == "html":
        from exporter.backtest.html import html

        return html(report, limit)
    if output == "json":
        return tables.as_json(report)
    return tables.markdown(report, limit) if output == "markdown" else tables.text(report, limit)
