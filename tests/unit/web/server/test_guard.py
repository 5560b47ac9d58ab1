"""What stands before the app: validation, rate limit, basic auth and configured headers."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from typing import Any

import bcrypt
import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse, Response

from exporter.web.server import guard as module
from exporter.web.server.config_file import GoDuration, Headers, HttpServerConfig, RateLimit, WebConfig
from exporter.web.server.guard import SECURITY_HEADERS, Guard, Passwords, RateLimiter, validate
from tests.support.clocks import Clock

USERS = {"prometheus": bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()}
LONG = "x" * 100


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that were really held against a hash."""
    seen: list[str] = []
    matches = module._matches

    def counted(password: str, hashed: str) -> bool:
        seen.append(password)
        return matches(password, hashed)

    monkeypatch.setattr(module, "_matches", counted)
    return seen


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def client(config: WebConfig) -> httpx.AsyncClient:
    guard = Guard(PlainTextResponse("inside", headers={"X-Frame-Options": "DENY"}))
    guard.config = config
    return httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://exporter")


async def test_without_users_everybody_is_let_in():
    async with client(WebConfig()) as http:
        assert (await http.get("/")).text == "inside"


async def test_a_user_is_let_in_with_the_password_only():
    async with client(WebConfig(basic_auth_users=USERS)) as http:
        admitted = await http.get("/", auth=("prometheus", "secret"))
        refused = await http.get("/", auth=("prometheus", "wrong"))
        anonymous = await http.get("/")

    assert (admitted.status_code, refused.status_code, anonymous.status_code) == (200, 401, 401)
    assert anonymous.headers["www-authenticate"].startswith("Basic ")
    assert "inside" not in refused.text


async def test_a_refusal_is_as_guarded_as_any_answer():
    async with client(WebConfig(basic_auth_users=USERS)) as http:
        refused = await http.get("/")

    assert SECURITY_HEADERS.items() <= {name.title(): value for name, value in refused.headers.items()}.items()


async def test_configured_headers_replace_those_of_the_app_and_are_on_refusals_too():
    headers = msgspec.convert({"X-Frame-Options": "sameorigin", "Strict-Transport-Security": "max-age=1"}, Headers)
    config = WebConfig(basic_auth_users=USERS, http_server_config=HttpServerConfig(headers=headers))
    async with client(config) as http:
        admitted = await http.get("/", auth=("prometheus", "secret"))
        refused = await http.get("/")

    for answer in (admitted, refused):
        assert answer.headers.get_list("x-frame-options") == ["sameorigin"]
        assert answer.headers["strict-transport-security"] == "max-age=1"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic " + b64encode(b"\xff\xfe").decode(),
        "Bearer token",
        basic("", ""),
        basic("prometheus", ""),
        basic("other", "secret"),
        basic("", "secret"),
    ],
)
async def test_anything_else_is_refused(authorization: str):
    assert not await Passwords().verify(USERS, authorization)


async def test_a_password_is_verified_once(checks: list[str]):
    passwords = Passwords()

    answers = await asyncio.gather(*(passwords.verify(USERS, basic("prometheus", "secret")) for _ in range(20)))

    assert all(answers)
    assert checks == ["secret"]


async def test_a_new_hash_is_verified_anew(checks: list[str]):
    passwords = Passwords()
    await passwords.verify(USERS, basic("prometheus", "secret"))
    changed = {"prometheus": bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()}

    assert not await passwords.verify(changed, basic("prometheus", "secret"))
    assert len(checks) == 2


async def test_an_unknown_user_takes_as_long_as_a_known_one(checks: list[str]):
    assert not await Passwords().verify(USERS, basic("nobody", "secret"))

    assert checks == ["secret"]


async def test_many_wrong_passwords_do_not_push_the_right_one_out(checks: list[str]):
    passwords = Passwords(remembered=3)
    await passwords.verify(USERS, basic("prometheus", "secret"))

    for number in range(10):
        assert not await passwords.verify(USERS, basic("prometheus", f"wrong {number}"))
    assert await passwords.verify(USERS, basic("prometheus", "secret"))

    assert checks.count("secret") == 1
    assert len(passwords._verdicts) == 3


async def test_right_passwords_are_forgotten_in_turn():
    users = USERS | {"other": USERS["prometheus"]}
    passwords = Passwords(remembered=1)

    assert await passwords.verify(users, basic("prometheus", "secret"))
    assert await passwords.verify(users, basic("other", "secret"))

    assert len(passwords._verdicts) == 1


async def test_a_password_longer_than_bcrypt_reads_is_cut():
    users = {"prometheus": bcrypt.hashpw(LONG[:72].encode(), bcrypt.gensalt(4)).decode()}

    assert await Passwords().verify(users, basic("prometheus", LONG))


async def test_beyond_the_rate_limit_requests_are_refused_before_their_passwords_are_verified(checks: list[str]):
    clock = Clock()
    guard = Guard(PlainTextResponse("inside"), clock)
    guard.config = WebConfig(basic_auth_users=USERS, rate_limit=RateLimit(interval=GoDuration(30), burst=1))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://exporter") as http:
        admitted = await http.get("/", auth=("prometheus", "secret"))
        refused = await http.get("/", auth=("prometheus", "wrong"))
        clock.seconds = 30.0
        again = await http.get("/", auth=("prometheus", "secret"))

    assert (admitted.status_code, refused.status_code, again.status_code) == (200, 429, 200)
    assert refused.headers["retry-after"] == "30"
    assert checks == ["secret"]


async def test_a_changed_rate_limit_holds_at_once_and_one_that_did_not_change_is_not_begun_anew():
    guard = Guard(PlainTextResponse("inside"), Clock())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://exporter") as http:

        async def answered() -> int:
            return (await http.get("/")).status_code

        guard.config = WebConfig(rate_limit=RateLimit(interval=GoDuration(1), burst=1))
        codes = [await answered(), await answered()]
        guard.config = WebConfig(rate_limit=RateLimit(interval=GoDuration(1), burst=1))
        codes.append(await answered())
        guard.config = WebConfig(rate_limit=RateLimit(interval=GoDuration(1), burst=2))
        codes.append(await answered())
        guard.config = WebConfig()
        codes += [await answered() for _ in range(5)]

    assert codes == [200, 429, 429, 200, *[200] * 5]


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

    if isinstance(request, Response):
        assert request.status_code == 400
        return
    [named] = [value for name, value in request["headers"] if name == b"host"]
    assert request["raw_path"].startswith(b"/")
    assert request["path"].startswith("/")
    assert not re.search(rb"[/@,\s]", named)


def test_the_other_headers_of_a_request_stay() -> None:
    request = validate(scope("http://one/metrics?x=1", "other"))

    assert not isinstance(request, Response)
    assert request["headers"] == [(b"host", b"one"), (b"accept", b"*/*")]
    assert (request["path"], request["query_string"]) == ("/metrics", b"x=1")


def test_a_burst_is_let_through_and_then_one_each_interval():
    limiter = RateLimiter(RateLimit(interval=GoDuration(2), burst=3), at=100.0)

    assert [limiter.allows(100.0) for _ in range(4)] == [True, True, True, False]
    assert not limiter.allows(101.9)
    assert limiter.allows(102.0)
    assert not limiter.allows(102.0)


def test_a_pause_gives_back_the_burst_and_no_more():
    limiter = RateLimiter(RateLimit(interval=GoDuration(1), burst=2), at=0.0)
    while limiter.allows(0.0):
        pass

    assert [limiter.allows(3600.0) for _ in range(3)] == [True, True, False]


def test_it_says_when_the_next_request_is_let_through():
    limiter = RateLimiter(RateLimit(interval=GoDuration(10), burst=1), at=0.0)
    limiter.allows(0.0)

    assert not limiter.allows(2.5)
    assert limiter.retry_after_seconds == 8
