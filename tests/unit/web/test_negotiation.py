"""What a scraper asked for, by its headers."""

from __future__ import annotations

import pytest

from exporter.web.negotiation import wants_gzip, wants_openmetrics

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept",
    [
        PROMETHEUS_2_42,
        PROMETHEUS_3,
        "application/openmetrics-text",
        " Application/OpenMetrics-Text ; version=0.0.1",
        'application/openmetrics-text;version="1.0.0"',
    ],
)
def test_openmetrics_is_given_to_who_prefers_it(accept: str):
    assert wants_openmetrics(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        BROWSER,
        "text/plain;version=0.0.4",
        "text/plain, application/openmetrics-text;q=0.5",
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;version=9.0.0",
        "application/openmetrics-text;q=nonsense",
        ",;,",
    ],
)
def test_text_is_given_to_everybody_else(accept: str):
    assert not wants_openmetrics(accept)


@pytest.mark.parametrize(
    "accepted", ["gzip", "deflate, gzip;q=0.5", "*", "GZIP", "x-gzip", "br;q=1.0, *;q=0.1", "identity;q=0.5, gzip"]
)
def test_gzip_is_given_where_it_is_accepted(accepted: str):
    assert wants_gzip(accepted)


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "gzip;q=0, *", "*;q=0", "br", "gzip;q=0.5, identity"])
def test_gzip_is_not_given_where_it_is_not_accepted(accepted: str):
    assert not wants_gzip(accepted)
