"""Settings: file, environment, secrets; wrong ones end with one sentence."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.configuration import load_settings
from exporter.config.secrets import Secret, SecretFile, masked, without_secrets
from exporter.config.settings import PulsarSettings, Settings, json_schema, keys
from exporter.durations import Duration, parse_duration
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


def test_labels_are_written_as_pairs_in_the_environment(file) -> None:
    settings = load_settings(
        file("external_labels: {region: north, team: pix}"),
        {"DICT_RATE_LIMIT_EXTERNAL_LABELS": "region=south, query=a=b"},
    )

    assert settings.external_labels == {"region": "south", "query": "a=b"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("region", "DICT_RATE_LIMIT_EXTERNAL_LABELS: 'region' is not a label; write name=value, several with commas"),
        ("a=1,a=2", "DICT_RATE_LIMIT_EXTERNAL_LABELS: a is set twice"),
    ],
)
def test_labels_of_the_environment_that_are_none_are_refused(text, said) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_settings(None, {"DICT_RATE_LIMIT_EXTERNAL_LABELS": text})


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
        ("poll: {intervall: 15s}", "1: poll.intervall: no such key; did you mean poll.interval?"),
        ("poll: {interval: 15}", "1: poll.interval: 15 is not a duration; write it with its unit, as in 15s"),
        ("poll: {interval: 15 s}", "poll.interval: '15 s' is not a duration; write it as 15s, 5m or 1h30m"),
        ("poll: {interval: [15s]}", "poll.interval: is a list; write a duration, as in 15s"),
        ("poll: {interval: null}", "poll.interval: is empty; write a duration, as in 15s"),
        ("poll: 15s", "poll: is text, not a section; write its keys below it, indented"),
        ("poll:", "poll: is empty; write its keys below it, indented, or take it out"),
        ("pol: {}", "pol: no such key; did you mean poll?"),
        ("xyzzy: 1", "xyzzy: no such key; there are participants, bridge, poll, feed, rules, "),
        ("bridge: {tls: {cafile: x}}", "bridge.tls.cafile: no such key; did you mean bridge.tls.ca_file?"),
        ("bridge: {target: [a]}", "bridge.target: is a list; write text"),
        ("bridge: {target: 5}", "bridge.target: is a number; write text, in quotes"),
        ("bridge: {retries: 11}", "bridge.retries: 11 is not a whole number from 0 to 10"),
        ("bridge: {retries: '2'}", "bridge.retries: '2' is not a whole number from 0 to 10, without quotes"),
        ("bridge: {insecure: 'yes'}", "bridge.insecure: 'yes' is not true or false, without quotes"),
        ("bridge: {insecure: 1}", "bridge.insecure: is a number; write true or false"),
        ("feed: {targets: 'a:1'}", "feed.targets: is text; write a list, as in [a, b]"),
        ("log: {level: warn}", "log.level: 'warn' is none of debug, info, warning, error; did you mean warning?"),
        ("log: {level: 5}", "log.level: is a number; write one of debug, info, warning, error"),
        ("tracing: {sample_ratio: 7}", "tracing.sample_ratio: 7 is not a number from 0 to 1"),
        ("database: {dsn: 5}", "database.dsn: is a number; write a secret as text, in quotes"),
        ("bridge: {target: a:1", "is not YAML, column"),
        ("\tpoll: {}", "is not YAML, column 1: a tab cannot indent; write spaces"),
        ("poll: {interval: soon}", "poll.interval: 'soon' is not a duration"),
        ("participants: [123]", "1: participants[0]: is a number; write an ISPB, eight digits, in quotes"),
        ("participants: ['123']", "1: participants[0]: '123' is not an ISPB, eight digits"),
        ('participants: ["12345678\\n"]', "participants[0]: '12345678\\n' is not an ISPB"),
        ("participants: ['12345678', '12345678']", "1: participants: '12345678' is listed twice"),
        ("poll: {interval: 10s, staleness: 5s}", "poll.staleness: 5s is not above poll.interval (10s)"),
        ("poll: {interval: 0s}", "poll.interval: 0s is below 1s"),
        ("poll: {estimate_window: 0s}", "poll.estimate_window: must be above 0s"),
        ("rules: {reload_interval: 0s}", "rules.reload_interval: must be above 0s"),
        ("database: {connect_timeout: 0s}", "database.connect_timeout: must be above 0s"),
        ("database: {heartbeat: 0s}", "database.heartbeat: must be above 0s"),
        ("database: {heartbeat: 25h}", "database.heartbeat: 1d1h is above 1d"),
        ("database: {compact_after: 59m}", "database.compact_after: 59m is below 1h"),
        ("pulsar: {operation_timeout: 0s}", "pulsar.operation_timeout: must be above 0s"),
        ("feed: {targets: ['a:1', 'a:1']}", "1: feed.targets: 'a:1' is listed twice"),
        ("bridge: {timeout: 20s}", "bridge.timeout: 20s is not between 0s and poll.interval (15s)"),
        (
            "alertmanager: {targets: ['http://a', 'http://a/']}",
            "1: alertmanager.targets: 'http://a' is listed twice",
        ),
        ("alertmanager: {timeout: 0s}", "alertmanager.timeout: must be above 0s"),
        ("alertmanager: {resend_interval: 500ms}", "alertmanager.resend_interval: 500ms is below 1s"),
        ("alertmanager: {tls: {key_file: a}}", "1: alertmanager.tls.key_file: is set without cert_file"),
        ("alertmanager: {basic_auth: {username: a}}", "1: alertmanager.basic_auth.username: is set without password"),
        (
            "alertmanager: {basic_auth: {username: a, password: b}, bearer_token: c}",
            "alertmanager.bearer_token: is set beside alertmanager.basic_auth; keep one",
        ),
        (
            "alertmanager: {timezone: Sao_Paulo}",
            "alertmanager.timezone: 'Sao_Paulo' is not a time zone; write an IANA name: America/Sao_Paulo",
        ),
        ("alertmanager: {timezone: ''}", "alertmanager.timezone: '' is not a time zone"),
        ("alertmanager: {timezone: America}", "alertmanager.timezone: 'America' is not a time zone"),
        ("alertmanager: {timezone: ../../etc/passwd}", "alertmanager.timezone: '../../etc/passwd' is not a time zone"),
        ("external_labels: {a-b: c}", "external_labels: 'a-b' is not the name of a label; write letters, digits and _"),
        ("external_labels: {__a: c}", "external_labels: '__a' is not the name of a label"),
        ("external_labels: {alertname: c}", "external_labels: alertname is set by each alert"),
        ("external_labels: {region: ''}", "external_labels.region: is empty, which is not a label; leave it out"),
        ("external_labels: {region: 1}", "1: external_labels.region: is a number; write text, in quotes"),
        ("bridge: {tls: {cert_file: a}}", "1: bridge.tls.cert_file: is set without key_file: the two belong together"),
        ("database: {min_size: 9}", "1: database.min_size: 9 is above database.max_size (4)"),
        ("[1", "1: is not YAML, column 1: a [ or { is not closed"),
        ("[" * 100_000, "1: is not YAML, column 51: more than 50 levels deep"),
        ("- 1", "1: is a list; write keys with values"),
    ],
)
def test_a_wrong_file_is_refused_naming_file_key_and_what_is_wrong(file, text, said) -> None:
    path = file(text)

    with pytest.raises(ConfigurationError) as refused:
        load_settings(path, {})

    assert str(refused.value).startswith(f"{path}:1: ")
    assert said in str(refused.value)
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"DICT_RATE_LIMIT_POLL__INTERVALL": "1s"},
            "DICT_RATE_LIMIT_POLL__INTERVALL: no such setting; did you mean DICT_RATE_LIMIT_POLL__INTERVAL?",
        ),
        ({"DICT_RATE_LIMIT_NOPE": "1"}, "DICT_RATE_LIMIT_NOPE: no such setting; .env.example lists them all"),
        (
            {"DICT_RATE_LIMIT_PARTICIPANTS": "1234567"},
            "DICT_RATE_LIMIT_PARTICIPANTS: participants[0]: '1234567' is not an ISPB, eight digits",
        ),
        (
            {"DICT_RATE_LIMIT_BRIDGE__INSECURE": "maybe"},
            "DICT_RATE_LIMIT_BRIDGE__INSECURE: bridge.insecure: 'maybe' is not true or false",
        ),
        (
            {"DICT_RATE_LIMIT_POLL__STALENESS": "5s"},
            "DICT_RATE_LIMIT_POLL__STALENESS: poll.staleness: 5s is not above poll.interval (15s)",
        ),
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


def test_everything_that_is_wrong_is_told_at_once_each_with_its_place(file) -> None:
    path = file("pol: {}\npoll:\n  interval: 15\n  staleness: soon\ndatabase: {min_size: 9}\n")

    with pytest.raises(ConfigurationError) as refused:
        load_settings(path, {"DICT_RATE_LIMIT_LOG__LEVEL": "loud", "DICT_RATE_LIMIT_PULSAR__TOKEN_FILE": "/no"})

    assert refused.value.problems == (
        f"{path}:1: pol: no such key; did you mean poll?",
        f"{path}:3: poll.interval: 15 is not a duration; write it with its unit, as in 15s",
        f"{path}:4: poll.staleness: 'soon' is not a duration; write it as 15s, 5m or 1h30m",
        "DICT_RATE_LIMIT_PULSAR__TOKEN_FILE: /no cannot be read: No such file or directory",
        "DICT_RATE_LIMIT_LOG__LEVEL: log.level: 'loud' is none of debug, info, warning, error",
        f"{path}:5: database.min_size: 9 is above database.max_size (4)",
    )


def test_what_is_at_odds_with_a_default_is_told_where_it_is_set(file) -> None:
    path = file("# 1\npoll:\n  interval: 10m\n")

    with pytest.raises(ConfigurationError) as refused:
        load_settings(path, {})

    assert str(refused.value) == f"{path}:3: poll.staleness: 5m is not above poll.interval (10m)"


def test_a_file_that_is_not_utf_8_is_refused_with_its_line(tmp_path) -> None:
    file = tmp_path / "config.yml"
    file.write_bytes(b"participants: []\nbridge: {target: \xff}\n")

    with pytest.raises(ConfigurationError, match=r"config\.yml:2: is not YAML: it holds what is not text in UTF-8"):
        load_settings(file, {})


def test_no_value_of_a_wrong_kind_is_shown(file) -> None:
    text = "database: {dsn: [hush]}\npulsar: hush\nparticipants: hush\nhttp: hush\nweb: {listen_address: {hush: 1}}\n"

    with pytest.raises(ConfigurationError) as refused:
        load_settings(file(text), {})

    assert len(refused.value.problems) == 5
    assert "hush" not in str(refused.value)


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


def token_of(file: Path) -> Secret:
    secret = SecretFile("DICT_RATE_LIMIT_PULSAR__TOKEN_FILE", str(file), stable_seconds=0)
    return Secret(secret.text(), secret)


def test_a_secret_is_what_its_file_holds_now(tmp_path: Path, caplog) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    token = token_of(file)
    settings = Settings(pulsar=PulsarSettings(token=token))
    assert token.reveal() == "one"

    file.write_text("two\n")

    assert token.reveal() == "two"
    assert "two" not in f"{token} {token!r} {masked(settings)} {caplog.text}"


@pytest.mark.parametrize("changed", [b"", b"\xff", None], ids=["emptied", "no text", "removed"])
def test_a_file_that_holds_no_secret_any_more_leaves_the_last_one_and_is_told_once(
    tmp_path: Path, caplog, changed: bytes | None
) -> None:
    file = tmp_path / "token"
    file.write_text("one")
    token = token_of(file)

    file.unlink() if changed is None else file.write_bytes(changed)

    assert [token.reveal(), token.reveal()] == ["one", "one"]
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    assert "DICT_RATE_LIMIT_PULSAR__TOKEN_FILE" in caplog.records[0].error


def test_more_participants_than_the_limit_are_refused(file) -> None:
    path = file("participants: ['11111111', '22222222']\nlimits: {participants: 1}\n")

    with pytest.raises(ConfigurationError, match=r"participants: 2 are more than limits\.participants allows"):
        load_settings(path, {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("poll:\n  interval: 10s\n  interval: 30s\n", "3: poll.interval: is given twice, first in line 2; keep one"),
        ("bridge: {retries: 5}\npoll: {}\nbridge: {}\n", "3: bridge: is given twice, first in line 1; keep one"),
        ("database: {dsn: hush, dsn: hush}", "1: database.dsn: is given twice, first in line 1; keep one"),
        ("database: {dsn: *hush}", "1: is not YAML, column 17: an alias without an anchor of that name before it"),
        ("poll: {}\n---\npoll: {interval: 1s}\n", "2: is not YAML, column 1: a second document begins"),
        (
            "a: &a {b: c}\nx:\n" + "- *a\n" * 40_000,
            "33334: is not YAML, column 3: more than 100,000 nodes when its",
        ),
    ],
)
def test_yaml_is_read_strictly(tmp_path, text: str, told: str) -> None:
    file = tmp_path / "config.yml"
    file.write_text(text)

    with pytest.raises(ConfigurationError) as refused:
        load_settings(file, {})

    assert str(refused.value).startswith(f"{file}:{told}")
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
