"""Targets and heads of requests, whatever is in them. Real ones are in tests/integration/test_web_requests.py."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.web.server.requests import Refusal, validate

TARGET = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1) | st.from_regex(
    r"(https?://)?[a-z@:\[\]0-9.]{0,8}(/[a-z%/]{0,8})?", fullmatch=True
)


def scope(target: str, host: str, method: str = "GET") -> dict[str, Any]:
    path, _, query = target.partition("?")
    return {
        "method": method,
        "http_version": "1.1",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", host.encode("latin-1")), (b"accept", b"*/*")],
    }


@given(TARGET, st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF)), st.sampled_from(["GET", "CONNECT"]))
def test_what_is_understood_has_a_path_and_one_sound_host(target: str, host: str, method: str) -> None:
    request = validate(scope(target, host, method))

    if isinstance(request, Refusal):
        assert request.status == 400
        return
    [named] = [value for name, value in request["headers"] if name == b"host"]
    assert request["raw_path"].startswith(b"/")
    assert request["path"].startswith("/")
    assert not re.search(rb"[/@,\s]", named)


def test_the_other_headers_of_a_request_stay() -> None:
    request = validate(scope("http://one/metrics?x=1", "other"))

    assert not isinstance(request, Refusal)
    assert request["headers"] == [(b"host", b"one"), (b"accept", b"*/*")]
    assert (request["path"], request["query_string"]) == ("/metrics", b"x=1")
