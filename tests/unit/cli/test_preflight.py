"""What a role needs before it starts: everything that is wrong is told, with the place where it was set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization

from exporter.cli.preflight import Role, check_rules, check_start
from exporter.config.configuration import Configuration
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[3]
WHOLE = f"""\
participants: ["12345678"]
bridge: {{target: "bridge:50051"}}
database: {{dsn: host=127.0.0.1}}
rules: {{files: [{ROOT}/rules/dict-rate-limit.yml]}}
"""
FOLLOWING = WHOLE + "feed: {targets: ['exporter:9863']}\n"


@pytest.fixture
def problems_of(tmp_path: Path) -> Callable[..., list[str]]:
    """What the start as a role, or as none, is refused for; of the file's name only the line is left."""

    def check(text: str, role: Role | None, environment: Mapping[str, str] | None = None) -> list[str]:
        file = tmp_path / "config.yml"
        file.write_text(text)
        configuration = Configuration(file, environment or {})
        check_start(configuration, role)
        return [problem.removeprefix(f"{file}:") for problem in configuration.problems]

    return check


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Certificates and keys, good and bad, by what they are."""
    (tmp_path / "elsewhere").mkdir()
    one, other = Authority(tmp_path).issue("one"), Authority(tmp_path / "elsewhere", "Other").issue("two")
    key = serialization.load_pem_private_key(Path(one.key_file).read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "encrypted.key").write_bytes(encrypted)
    (tmp_path / "text.pem").write_text("hello")
    for kind, name in (("CERTIFICATE", "damaged.pem"), ("PRIVATE KEY", "damaged.key")):
        (tmp_path / name).write_text(f"-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n")
    (tmp_path / "dangling").symlink_to("/nowhere/ca.pem")
    paths = {
        name: str(tmp_path / name) for name in ("encrypted.key", "text.pem", "damaged.pem", "damaged.key", "dangling")
    }
    return paths | {"folder": str(tmp_path), "cert": one.cert_file, "key": one.key_file, "other.key": other.key_file}


@pytest.mark.parametrize(
    ("role", "missing"),
    [
        ("run", ["participants", "bridge.target", "database.dsn"]),
        ("exporter", ["participants", "bridge.target"]),
        ("reconciler", ["feed.targets", "database.dsn"]),
    ],
)
def test_all_that_a_role_needs_and_is_not_set_is_named(problems_of, role: Role, missing: list[str]) -> None:
    rules = f"rules: {{files: [{ROOT}/rules/dict-rate-limit.yml]}}"

    assert problems_of(rules, role) == [
        f" {key}: not set; set it in the configuration file or as DICT_RATE_LIMIT_{key.upper().replace('.', '__')}"
        for key in missing
    ]


def test_without_a_role_nothing_is_missing(problems_of) -> None:
    assert problems_of("", None) == []


@pytest.mark.parametrize("role", ["run", "exporter", None])
def test_what_is_whole_is_let_through(problems_of, role: Role | None) -> None:
    assert problems_of(WHOLE, role) == []


def test_a_dsn_is_checked_unless_the_role_has_no_database(problems_of) -> None:
    text = WHOLE.replace("host=127.0.0.1", "mysql://u:hush@host/database")

    assert problems_of(text, "exporter") == []
    for role in ("run", None):
        [problem] = problems_of(text, role)
        assert problem.startswith("3: database.dsn: begins with mysql://; write postgresql://")


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ("ca_file: /nowhere.pem", "ca_file: /nowhere.pem cannot be read: No such file or directory"),
        ("ca_file: {dangling}", "ca_file: {dangling} cannot be read: No such file or directory"),
        ("ca_file: {folder}", "ca_file: {folder} cannot be read: it is not a regular file"),
        ("ca_file: {text.pem}", "ca_file: {text.pem} is not PEM: it holds no 'CERTIFICATE-----' line"),
        ("ca_file: {damaged.pem}", "ca_file: {damaged.pem} holds no certificate that can be read"),
        ("cert_file: {cert}", "cert_file: is set without key_file: the two belong together"),
        ("cert_file: {cert}, key_file: {other.key}", "key_file: {other.key} is not the key of the certificate"),
        ("cert_file: {cert}, key_file: {damaged.key}", "key_file: {damaged.key} holds no key that can be read"),
        ("cert_file: {damaged.pem}, key_file: {key}", "cert_file: {damaged.pem} holds no certificate that can be read"),
        (
            "cert_file: {cert}, key_file: {encrypted.key}",
            "key_file: {encrypted.key} is protected by a password, which no one can type here: `openssl",
        ),
    ],
)
@pytest.mark.parametrize(
    ("section", "base", "role"),
    [
        ("bridge", WHOLE.replace('bridge: {target: "bridge:50051"}\n', ""), "run"),
        ("feed", WHOLE, "reconciler"),
        ("pulsar", WHOLE, "run"),
    ],
)
def test_a_file_of_tls_that_cannot_be_used_is_named_with_the_reason(
    problems_of, files, section: str, base: str, role: Role, tls: str, said: str
) -> None:
    def named(text: str) -> str:
        for name, path in files.items():
            text = text.replace(f"{{{name}}}", path)
        return text

    whole = {"bridge": "  target: bridge:50051", "feed": "  targets: [a:1]", "pulsar": "  topic: persistent://a/b/c"}
    text = f"{base}{section}:\n{whole[section]}\n  tls: {{{named(tls)}}}\n"

    [problem] = problems_of(text, role)

    assert problem.startswith(f"{len(text.splitlines())}: {section}.tls.{named(said)}")


def test_certificates_of_another_role_are_not_read(problems_of) -> None:
    assert problems_of(FOLLOWING + "  # nothing\n", "run") == []
    assert problems_of(FOLLOWING.replace("']}", "'], tls: {ca_file: /no.pem}}"), "run") == []
    assert len(problems_of(FOLLOWING.replace("']}", "'], tls: {ca_file: /no.pem}}"), None)) == 1


@pytest.mark.parametrize("role", ["exporter", None])
def test_a_feed_that_listens_needs_tls_or_to_be_asked_for_plaintext(problems_of, files, role: Role | None) -> None:
    feed = WHOLE.replace("{", "{{").replace("}", "}}") + "feed: {{listen_address: ':9863', {}}}\n"

    assert problems_of(feed.format("insecure: true"), role) == []
    assert problems_of(feed.format(""), role)[0].startswith(
        "5: feed.tls.cert_file: not set; a server needs cert_file and key"
    )
    pair = f"tls: {{cert_file: {files['cert']}, key_file: {files['key']}}}"
    assert problems_of(feed.format(pair), role)[0].startswith(
        "5: feed.tls.ca_file: not set; it says which client certificates"
    )


@pytest.mark.parametrize(("section", "role"), [("bridge", "exporter"), ("feed", "reconciler"), ("bridge", None)])
def test_plaintext_and_certificates_together_are_refused(problems_of, section: str, role: Role | None) -> None:
    text = "participants: ['12345678']\ndatabase: {dsn: host=h}\nbridge: {target: 'b:1'}\nfeed: {targets: ['a:1']}\n"
    text += f"rules: {{files: [{ROOT}/rules/dict-rate-limit.yml]}}\n"

    problems = problems_of(
        text.replace(f"{section}: {{", f"{section}: {{insecure: true, tls: {{server_name: b}}, "), role
    )

    line = 3 if section == "bridge" else 4
    assert problems == [f"{line}: {section}.insecure: true is plaintext, and tls is configured; keep one of them"]


def test_the_variable_stands_where_the_files_name_would(problems_of) -> None:
    variables = {"BRIDGE__TLS__CA_FILE": "/no.pem", "WEB__LISTEN_ADDRESS": "999.0.0.1:1", "RULES__FILES": "/no/*.yml"}

    problems = problems_of(WHOLE, "run", {f"DICT_RATE_LIMIT_{name}": value for name, value in variables.items()})

    assert [problem.split(": ")[:2] for problem in problems] == [
        ["DICT_RATE_LIMIT_WEB__LISTEN_ADDRESS", "web.listen_address"],
        ["DICT_RATE_LIMIT_BRIDGE__TLS__CA_FILE", "bridge.tls.ca_file"],
        ["DICT_RATE_LIMIT_RULES__FILES", "rules.files"],
    ]


def test_a_pattern_that_matches_no_file_is_reported_where_it_stands(problems_of) -> None:
    text = WHOLE.replace("rules: {files: [", "rules: {files: [nothing/*.yml, ")

    assert problems_of(text, "exporter") == []
    for role in ("run", None):
        [problem] = problems_of(text, role)
        assert problem.startswith("4: rules.files: 'nothing/*.yml' matches no file (a relative path begins in ")


def test_rule_files_are_read_as_the_start_reads_them(tmp_path: Path) -> None:
    rules, config = tmp_path / "rules.yml", tmp_path / "config.yml"
    config.write_text(f"rules: {{files: [{rules}]}}")
    configuration = Configuration(config, {})

    for text, problems_of in (
        ("groups:\n- name: g\n  rules:\n  - {alert: A, expr: dict_rate_limit_up == 0}\n", ":4: g/A: "),
        ("", ": error: there is no rule at all"),
    ):
        rules.write_text(text)
        for role in ("run", "reconciler", None):
            [problems] = check_rules(configuration, role)
            assert problems.startswith(f"{rules}{problems_of}")
        assert check_rules(configuration, "exporter") == []


def test_nothing_is_said_of_rule_files_that_are_not_named_where_no_role_is(tmp_path: Path) -> None:
    assert check_rules(Configuration(None, {}), None) == []


def test_what_is_wrong_alone_is_reported_once(problems_of) -> None:
    text = WHOLE.replace("target:", "targt: x, target: [5], tls:") + "poll: 5\n"

    assert [problem.split(": ")[1] for problem in problems_of(text, "run")] == [
        "bridge.targt",
        "bridge.target",
        "bridge.tls",
        "poll",
    ]


def test_the_web_configuration_file_is_read_and_remarked_upon(tmp_path: Path) -> None:
    file, config = tmp_path / "web.yml", tmp_path / "config.yml"
    config.write_text(f"web:\n  config_file: {file}\n")

    def checked() -> tuple[list[str], list[str]]:
        configuration = Configuration(config, {})
        return check_start(configuration, None), configuration.problems

    assert checked() == ([], [f"{config}:2: web.config_file: {file} cannot be read: No such file or directory"])
    file.write_text("http_server_config: {http2: true}")
    [remark], problems = checked()
    assert remark.startswith(f"{file}: http_server_config.http2: true has no effect")
    assert problems == []
    file.write_text("basic_auth_users:\n  me: secret\nrate_limt: {}\n")
    assert [problem.split(": ")[:2] for problem in checked()[1]] == [
        [f"{file}:3", "rate_limt"],
        [f"{file}:2", "basic_auth_users.me"],
    ]


def sending(settings: str) -> str:
    return f"{WHOLE}alertmanager: {{{settings}}}\n"


def test_certificates_for_an_alertmanager_are_read_where_the_role_sends_to_it(problems_of, files) -> None:
    text = sending("targets: ['https://a:9093'], tls: {ca_file: /nowhere.pem}")

    assert problems_of(text, "exporter") == []
    for role in ("run", None):
        assert problems_of(text, role) == [
            "5: alertmanager.tls.ca_file: /nowhere.pem cannot be read: No such file or directory"
        ]
    both = f"tls: {{cert_file: {files['cert']}, key_file: {files['other.key']}}}"
    [problem] = problems_of(sending(f"targets: ['https://a:9093'], {both}"), "run")
    assert problem.startswith(f"5: alertmanager.tls.key_file: {files['other.key']} is not the key of the certificate")


def test_certificates_for_alertmanagers_that_are_all_plaintext_are_refused(problems_of) -> None:
    tls = "tls: {server_name: a}"

    assert problems_of(sending(f"targets: ['http://a:9093'], {tls}"), "run") == [
        "5: alertmanager.tls: is set, and every target is plaintext; write https:// in targets"
    ]
    assert problems_of(sending(f"targets: ['http://a:9093', 'https://b'], {tls}"), "run") == []


def test_a_password_that_goes_over_a_plaintext_connection_is_remarked_upon(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(sending("targets: ['http://a:9093', 'https://b:9093'], bearer_token: hush"))

    assert check_start(Configuration(config, {}), "run") == [
        "alertmanager.targets: http://a:9093 is plaintext, and gets the password"
    ]
