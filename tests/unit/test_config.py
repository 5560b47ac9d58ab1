"""Settings: file, environment, secrets; wrong ones end with one sentence."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter import watched_files
from exporter.config import (
    Duration,
    Secret,
    json_schema,
    keys,
    load_settings,
    masked,
    parse_duration,
    without_secrets,
)
from exporter.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "config.yml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s", 15), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("13d", 1_123_200), ("1w", 604_800), ("0", 0)],
)
def test_durations_are_written_as_in_prometheus(text, seconds) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "s", "1.5s", "5m 3s", "3s5m", "-1s", "1 h", "٣m"])
def test_what_prometheus_refuses_is_no_duration(text) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_a_duration_that_prometheus_cannot_count_is_refused() -> None:
    with pytest.raises(ValueError, match="'293y' is too long a duration; the longest is 292y"):
        parse_duration("293y")


@given(st.integers(0, 10**9))
def test_a_duration_is_shown_so_that_it_reads_back(milliseconds) -> None:
    duration = Duration(milliseconds / 1000)

    assert parse_duration(str(duration)) == pytest.approx(milliseconds / 1000)


def test_an_empty_variable_is_not_set(file) -> None:
    given = {
        "DICT_RATE_LIMIT_POLL__INTERVAL": "",
        "DICT_RATE_LIMIT_DATABASE__DSN": "",
        "DICT_RATE_LIMIT_PULSAR__TOKEN_FILE": "",
    }

    assert load_settings(file("poll: {interval: 30s}"), given) == load_settings(file("poll: {interval: 30s}"), {})


def test_an_empty_secret_file_is_refused(tmp_path) -> None:
    (tmp_path / "dsn").write_text("\n")

    with pytest.raises(ConfigurationError, match=r"DICT_RATE_LIMIT_DATABASE__DSN_FILE: .*dsn is empty"):
        load_settings(None, {"DICT_RATE_LIMIT_DATABASE__DSN_FILE": str(tmp_path / "dsn")})


def test_the_environment_wins_over_the_file(file) -> None:
    settings = load_settings(
        file("poll: {interval: 30s}\nparticipants: ['12345678']"),
        {"DICT_RATE_LIMIT_POLL__INTERVAL": "20s", "OTHER": "ignored"},
    )

    assert settings.poll.interval == 20
    assert settings.participants == ("12345678",)


def test_lists_are_written_with_commas_in_the_environment() -> None:
    settings = load_settings(None, {"DICT_RATE_LIMIT_PARTICIPANTS": "12345678, 00000208"})

    assert settings.participants == ("12345678", "00000208")


def test_a_secret_comes_from_a_file_too(tmp_path) -> None:
    secret = tmp_path / "dsn"
    secret.write_text("postgresql://u:hush@h/d\n")

    settings = load_settings(None, {"DICT_RATE_LIMIT_DATABASE__DSN_FILE": str(secret)})

    assert settings.database.dsn.reveal() == "postgresql://u:hush@h/d"


def test_a_secret_is_never_shown() -> None:
    secret = Secret("hush")

    assert "hush" not in f"{secret} {secret!r} {secret:>10} {[secret]}" + str(secret)


def test_what_is_printed_masks_secrets_and_shows_durations_as_written() -> None:
    settings = load_settings(None, {"DICT_RATE_LIMIT_DATABASE__DSN": "hush", "DICT_RATE_LIMIT_PULSAR__TOKEN": "hush"})

    shown = masked(settings)

    assert "hush" not in str(shown)
    assert shown["poll"]["interval"] == "15s"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("poll: {intervall: 15s}", "poll: Object contains unknown field `intervall`"),
        ("poll: {interval: 15}", "poll.interval: 15 is not a duration; write it with its unit, as in 15s"),
        ("poll: {interval: soon}", "poll.interval: 'soon' is not a duration"),
        ("participants: [123]", "participants[0]: Expected `str`, got `int`"),
        ("participants: ['123']", "participants[0]: Expected `str` matching regex '^[0-9]{8}$'"),
        ('participants: ["12345678\\n"]', "participants[0]: Expected `str` of length <= 8"),
        ("participants: ['12345678', '12345678']", "participants: an ISPB is listed twice"),
        ("poll: {interval: 10s, staleness: 5s}", "poll.staleness: 5s is not above poll.interval (10s)"),
        ("poll: {interval: 0s}", "poll.interval: 0s is below 1s"),
        ("poll: {estimate_window: 0s}", "poll.estimate_window: must be above 0s"),
        ("rules: {reload_interval: 0s}", "rules.reload_interval: must be above 0s"),
        ("database: {connect_timeout: 0s}", "database.connect_timeout: must be above 0s"),
        ("database: {heartbeat: 0s}", "database.heartbeat: must be above 0s"),
        ("pulsar: {operation_timeout: 0s}", "pulsar.operation_timeout: must be above 0s"),
        ("feed: {targets: ['a:1', 'a:1']}", "feed.targets: an exporter is listed twice"),
        ("bridge: {timeout: 20s}", "bridge.timeout: 20s is not between 0s and poll.interval (15s)"),
        ("bridge: {tls: {cert_file: a}}", "bridge.tls: cert_file and key_file belong together"),
        ("database: {min_size: 9}", "database.min_size: is above database.max_size"),
        ("[1", "is not YAML"),
        ("[" * 100_000, "is not YAML: line 1, column 51: more than 50 levels deep"),
        ("- 1", "Expected `object`, got `array`"),
    ],
)
def test_a_wrong_file_is_refused_naming_file_key_and_what_is_wrong(file, text, said) -> None:
    path = file(text)

    with pytest.raises(ConfigurationError) as refused:
        load_settings(path, {})

    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DICT_RATE_LIMIT_POLL__INTERVALL": "1s"}, "DICT_RATE_LIMIT_POLL__INTERVALL: no such setting"),
        (
            {"DICT_RATE_LIMIT_POLL__INTERVAL": "x"},
            "DICT_RATE_LIMIT_POLL__INTERVAL: poll.interval: 'x' is not a duration",
        ),
        (
            {"DICT_RATE_LIMIT_PULSAR__TOKEN": "a", "DICT_RATE_LIMIT_PULSAR__TOKEN_FILE": "b"},
            "DICT_RATE_LIMIT_PULSAR__TOKEN and DICT_RATE_LIMIT_PULSAR__TOKEN_FILE are both set; keep one",
        ),
        ({"DICT_RATE_LIMIT_PULSAR__TOKEN_FILE": "/no"}, "DICT_RATE_LIMIT_PULSAR__TOKEN_FILE: /no cannot be read"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(environment, said) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(None, environment)

    assert said in str(refused.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"/nowhere\.yml: cannot be read: No such file"):
        load_settings(Path("/nowhere.yml"), {})


def test_an_empty_file_is_the_defaults(file) -> None:
    assert load_settings(file(""), {}) == load_settings(None, {})


def test_the_schema_accepts_the_example() -> None:
    jsonschema.validate(yaml.safe_load((ROOT / "config.example.yml").read_text()), json_schema())


@pytest.mark.parametrize(
    "bad", [{"pol": {}}, {"poll": {"interval": 15}}, {"participants": ["1"]}, {"poll": {"interval": "15"}}]
)
def test_the_schema_refuses_what_the_program_refuses(bad) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, json_schema())


def test_every_key_has_a_default() -> None:
    defaults = [default for _, _, default in keys()]

    assert len(defaults) > 40
    assert msgspec.NODEFAULT not in defaults


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pulsar://broker:6650", "pulsar://broker:6650"),
        ("pulsar://user:pa@ss:w@broker:6650", "pulsar://********@broker:6650"),
        ("pulsar://a:b@one:6650,two:6650", "pulsar://********@one:6650,two:6650"),
        ("https://key@otlp.example.net/v1", "https://********@otlp.example.net/v1"),
        ("https://otlp.example.net/v1?api_key=abc&x=1", "https://otlp.example.net/v1?api_key=********&x=1"),
        ("https://otlp.example.net/a@b", "https://otlp.example.net/a@b"),
        ("persistent://lb-conn/dict/rate-limit-alerts", "persistent://lb-conn/dict/rate-limit-alerts"),
    ],
)
def test_what_a_url_holds_of_a_secret_is_masked(text, shown) -> None:
    settings = load_settings(None, {"DICT_RATE_LIMIT_PULSAR__SERVICE_URL": text})

    assert without_secrets(text) == shown
    assert masked(settings)["pulsar"]["service_url"] == shown


def test_a_secret_is_what_its_file_holds_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(watched_files, "STANDS_STILL_SECONDS", 0)
    file = tmp_path / "token"
    file.write_text("one\n")
    settings = load_settings(None, {"DICT_RATE_LIMIT_PULSAR__TOKEN_FILE": str(file)})
    token = settings.pulsar.token
    assert token is not None
    assert token.reveal() == "one"

    file.write_text("two\n")

    assert token.reveal() == "two"
    assert "two" not in f"{token} {token!r} {masked(settings)} {caplog.text}"


@pytest.mark.parametrize("changed", [b"", b"\xff", None], ids=["emptied", "no text", "removed"])
def test_a_file_that_holds_no_secret_any_more_leaves_the_last_one_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog, changed: bytes | None
) -> None:
    monkeypatch.setattr(watched_files, "STANDS_STILL_SECONDS", 0)
    file = tmp_path / "token"
    file.write_text("one")
    token = load_settings(None, {"DICT_RATE_LIMIT_PULSAR__TOKEN_FILE": str(file)}).pulsar.token
    assert token is not None

    file.unlink() if changed is None else file.write_bytes(changed)

    assert [token.reveal(), token.reveal()] == ["one", "one"]
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    assert "DICT_RATE_LIMIT_PULSAR__TOKEN_FILE" in caplog.text


def test_more_participants_than_the_limit_are_refused(file) -> None:
    path = file("participants: ['11111111', '22222222']\nlimits: {participants: 1}\n")

    with pytest.raises(ConfigurationError, match=r"participants: 2 are more than limits\.participants allows"):
        load_settings(path, {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("poll:\n  interval: 10s\n  interval: 30s\n", "line 3: interval is given twice, first in line 2"),
        ("bridge: {retries: 5}\npoll: {}\nbridge: {}\n", "line 3: bridge is given twice, first in line 1"),
        ("database: {dsn: hush, dsn: hush}", "line 1: dsn is given twice, first in line 1"),
        ("database: {dsn: *hush}", "is not YAML: line 1, column 17: an alias of nothing that is anchored before it"),
        ("poll: {}\n---\npoll: {interval: 1s}\n", "is not YAML: line 2, column 1: a second document begins"),
        (
            "a: &a {b: c}\nx:\n" + "- *a\n" * 40_000,
            "is not YAML: line 33334, column 3: more than 100,000 nodes when its",
        ),
    ],
)
def test_yaml_is_read_strictly(tmp_path, text: str, told: str) -> None:
    file = tmp_path / "config.yml"
    file.write_text(text)

    with pytest.raises(ConfigurationError) as refused:
        load_settings(file, {})

    assert str(refused.value).startswith(f"{file}: {told}")
    assert "hush" not in str(refused.value)


def test_sections_may_be_merged(tmp_path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("bridge: {tls: &tls {ca_file: a}}\nfeed: {tls: {<<: *tls, cert_file: b, key_file: c}}\n...\n---\n")

    settings = load_settings(file, {})

    assert (settings.feed.tls.ca_file, settings.feed.tls.cert_file) == ("a", "b")


@pytest.mark.parametrize("key", ["bridge: {target: %s}", "rules: {files: [%s]}", "database: {dsn: %s}"])
def test_a_text_that_no_value_can_be_is_refused_by_its_length(file, key: str) -> None:
    with pytest.raises(ConfigurationError, match=r": (bridge\.target|rules\.files|database\.dsn): has 1,000,000 ch"):
        load_settings(file(key % ("h" * 1_000_000)), {})
