"""The web configuration file: what it may say, and how it is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from exporter.errors import ConfigurationError
from exporter.web.server.config_file import WebConfig, load_web_config
from exporter.web.server.tls import has_allowed_san, remarks, server_context
from tests.support.certificates import Authority

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()


def written(folder: Path, content: Any) -> Path:
    file = folder / "web.yml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return file


def tls(folder: Path, **given: Any) -> Path:
    pair = Authority(folder).issue("server")
    return written(folder, {"tls_server_config": {"cert_file": pair.cert_file, "key_file": pair.key_file} | given})


def use(file: Path) -> None:
    config = load_web_config(file)
    if config.tls_server_config is not None:
        server_context(config.tls_server_config, file)


def refusal(file: Path) -> str:
    with pytest.raises(ConfigurationError) as raised:
        use(file)
    told = re.fullmatch(rf"{re.escape(str(file))}:(?:[0-9]+:)? (.*)", raised.value.problems[0])
    assert told is not None
    return told[1]


def test_an_empty_file_asks_for_nothing(tmp_path: Path):
    assert load_web_config(written(tmp_path, "")) == WebConfig()


def test_users_are_read(tmp_path: Path):
    config = load_web_config(written(tmp_path, {"basic_auth_users": {"prometheus": HASH}}))

    assert config.basic_auth_users == {"prometheus": HASH}


def test_headers_are_read_by_their_names(tmp_path: Path):
    headers = {
        "Strict-Transport-Security": "max-age=31536000",
        "Content-Security-Policy": "default-src 'self'",
        "X-Frame-Options": "deny",
        "X-Content-Type-Options": "nosniff",
        "X-XSS-Protection": "1",
    }

    config = load_web_config(written(tmp_path, {"http_server_config": {"http2": False, "headers": headers}}))

    assert dict(config.headers()) == headers


def test_paths_are_relative_to_the_file(tmp_path: Path):
    Authority(tmp_path).issue("server")

    config = load_web_config(
        written(tmp_path, {"tls_server_config": {"cert_file": "server.pem", "key_file": "server.key"}})
    )

    assert config.files() == [str(tmp_path / "server.pem"), str(tmp_path / "server.key")]
    assert config.tls_server_config is not None
    server_context(config.tls_server_config, tmp_path / "web.yml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"nonsense": 1}, "nonsense: no such key; there are tls_server_config, http_server_config, "),
        (
            {"tls_server_config": {"cert_file": "a", "key_file": "b", "sertificate": 1}},
            "tls_server_config.sertificate: no",
        ),
        ({"tls_server_config": {"cert_file": "a"}}, "tls_server_config.key_file: not set; TLS needs key_file, or key"),
        ({"tls_server_config": {"key": "a"}}, "tls_server_config.cert_file: not set; TLS needs cert_file, or cert"),
        ({"tls_server_config": {"min_version": "TLS13"}}, "tls_server_config.cert_file: not set"),
        ({"http_server_config": {"headers": {"X-XSS-Protection": "a\nb"}}}, "http_server_config.headers.X-XSS-Protec"),
        (
            {"basic_auth_users": {"prometheus": "$2b$32$" + HASH[7:]}},
            "basic_auth_users.prometheus: the password of",
        ),
        ({"rate_limit": {"interval": 1}}, "rate_limit.interval: 1 is not a duration; write it with its unit, as in 1s"),
        ({"rate_limit": {"interval": "1d", "burst": 1}}, "rate_limit.interval: '1d' is not a duration"),
        ({"rate_limit": {"interval": "-1s", "burst": 1}}, "rate_limit.interval: '-1s' is not a duration"),
        ({"rate_limit": {"interval": "1s"}}, "rate_limit.burst: 0 lets no request through; write 1 or more"),
        ({"rate_limit": {"interval": "1s", "burst": -1}}, "rate_limit.burst: -1 is not a whole number from 0"),
        (
            {"http_server_config": {"headers": {"X-Powered-By": "x"}}},
            "http_server_config.headers.X-Powered-By: no s",
        ),
        ({"http_server_config": {"headers": {"X-Frame-Options": "x"}}}, "http_server_config.headers.X-Frame-Options"),
        (
            {"basic_auth_users": {"prometheus": "secret"}},
            "basic_auth_users.prometheus: the password of 'pr",
        ),
        ({"basic_auth_users": ["prometheus"]}, "basic_auth_users: is a list; write keys with values"),
        ("a: [", "is not YAML"),
        (
            "tls_server_config: {}\nbasic_auth_users: {}\ntls_server_config: {}\n",
            "tls_server_config: is given",
        ),
        ("basic_auth_users:\n  me: a\n  me: b\n", "basic_auth_users.me: is given twice, first in line 2; keep one"),
        ("[" * 100_000, "is not YAML, column 51: more than 50 levels deep"),
        ("- 1", "is a list; write keys with values"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: Any, message: str):
    assert refusal(written(tmp_path, content)).startswith(message)


def test_a_password_that_is_no_hash_is_not_shown(tmp_path: Path):
    assert "secret" not in refusal(written(tmp_path, {"basic_auth_users": {"prometheus": "secret"}}))


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    assert refusal(tmp_path / "absent.yml") == "cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_version": "TLS11"}, "tls_server_config.min_version: TLS 1.0 and 1.1 are broken"),
        ({"min_version": "TLS14"}, "tls_server_config.min_version: 'TLS14' is none of TLS12, TLS13"),
        ({"min_version": "TLS13", "max_version": "TLS12"}, "tls_server_config.min_version: TLS13 is above"),
        ({"client_auth_type": "RequireAnyClientCert"}, "tls_server_config.client_auth_type: a certificate that"),
        ({"client_auth_type": "RequireAndVerifyClientCert"}, "tls_server_config.client_auth_type: Require"),
        ({"cert": "inline"}, "tls_server_config.cert: cert and cert_file are both set; keep one"),
        ({"key": "inline"}, "tls_server_config.key: key and key_file are both set; keep one"),
        ({"client_ca": "a", "client_ca_file": "b"}, "tls_server_config.client_ca: client_ca and client_ca_file are"),
        ({"client_ca": "a"}, "tls_server_config.client_ca: client_auth_type does not ask"),
        (
            {"client_auth_type": "RequireAndVerifyClientCert", "client_ca": "no PEM"},
            "tls_server_config.client_ca: holds no certificate that can be read",
        ),
        ({"client_auth_type": "RequestClientCert"}, "tls_server_config.client_auth_type: a certificate that"),
        ({"client_auth_type": "RequireClientCert"}, "tls_server_config.client_auth_type: a certificate that"),
        ({"client_auth_type": "Sometimes"}, "tls_server_config.client_auth_type: 'Sometimes' is none of NoClient"),
        (
            {"cipher_suites": ["TLS_AES_128_GCM_SHA256"], "max_version": "TLS12"},
            "tls_server_config.cipher_suites: names suites of TLS 1.3 only, and max_version is TLS12",
        ),
        ({"client_ca_file": "ca.pem"}, "tls_server_config.client_ca_file: client_auth_type does not ask"),
        ({"client_allowed_sans": ["a"]}, "tls_server_config.client_allowed_sans: needs client_auth_type"),
        (
            {"client_auth_type": "VerifyClientCertIfGiven", "client_ca_file": "absent.pem"},
            "tls_server_config.client_ca_file: ",
        ),
        ({"cipher_suites": ["TLS_NONSENSE"]}, "tls_server_config.cipher_suites: 'TLS_NONSENSE' is not known"),
        ({"curve_preferences": ["CurveP1"]}, "tls_server_config.curve_preferences: 'CurveP1' is none of"),
        (
            {"curve_preferences": ["X25519", "CurveP256"]},
            "tls_server_config.curve_preferences: takes at most 1",
        ),
        ({"key_file": "absent.key"}, "tls_server_config.key_file: "),
    ],
)
def test_wrong_tls_is_named(tmp_path: Path, given: dict[str, Any], message: str):
    assert refusal(tls(tmp_path, **given)).startswith(message)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path):
    other = Authority(tmp_path, "Other CA").issue("other")

    message = refusal(tls(tmp_path, key_file=other.key_file))

    assert message.endswith("other.key is not the key of the certificate")


def test_suites_are_chosen_by_their_registered_names(tmp_path: Path):
    file = tls(tmp_path, cipher_suites=["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"], curve_preferences=["CurveP384"])
    config = load_web_config(file).tls_server_config
    assert config is not None

    context = server_context(config, file)

    names = {cipher["name"] for cipher in context.get_ciphers() if not cipher["name"].startswith("TLS_")}
    assert names == {"ECDHE-ECDSA-AES256-GCM-SHA384"}


def test_every_registered_suite_is_known_to_openssl(tmp_path: Path):
    from exporter.web.server.tls import _TLS12_SUITES

    for suite in _TLS12_SUITES:
        file = tls(tmp_path, cipher_suites=[suite])
        config = load_web_config(file).tls_server_config
        assert config is not None
        server_context(config, file)


def test_only_suites_of_tls_1_3_mean_tls_1_3(tmp_path: Path):
    file = tls(tmp_path, cipher_suites=["TLS_AES_128_GCM_SHA256"])
    config = load_web_config(file).tls_server_config
    assert config is not None

    assert server_context(config, file).minimum_version.name == "TLSv1_3"


def test_a_client_needs_one_of_the_allowed_names():
    certificate = {"subjectAltName": (("DNS", "prometheus.example"), ("URI", "spiffe://example/prometheus"))}

    assert has_allowed_san(certificate, ())
    assert has_allowed_san(None, ())
    assert has_allowed_san(certificate, ["other", "spiffe://example/prometheus"])
    assert not has_allowed_san(certificate, ["other"])
    assert not has_allowed_san(None, ["other"])


def inline(folder: Path, **given: Any) -> Path:
    pair = Authority(folder).issue("server")
    pem = {"cert": Path(pair.cert_file).read_text(), "key": Path(pair.key_file).read_text()}
    return written(folder, {"tls_server_config": pem | given})


def test_certificate_and_key_may_stand_in_the_file_itself(tmp_path: Path):
    use(inline(tmp_path))


def test_a_key_that_stands_in_the_file_is_not_shown(tmp_path: Path):
    other = Authority(tmp_path, "Other CA").issue("other")
    file = inline(tmp_path)
    secret = yaml.safe_load(file.read_text())["tls_server_config"]["key"].splitlines()[1]

    assert secret not in str(load_web_config(file))
    for wrong in ({"cert": Path(other.cert_file).read_text()}, {"cert": "no PEM"}, {"key": f"cut short {secret}"}):
        message = refusal(inline(tmp_path, **wrong))
        assert message.startswith(("tls_server_config.cert: ", "tls_server_config.key: "))
        assert secret not in message


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(tmp_path: Path):
    from cryptography.hazmat.primitives import serialization

    pair = Authority(tmp_path).issue("server")
    key = serialization.load_pem_private_key(Path(pair.key_file).read_bytes(), None)
    Path(pair.key_file).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )

    message = refusal(
        written(tmp_path, {"tls_server_config": {"cert_file": pair.cert_file, "key_file": pair.key_file}})
    )

    assert message.startswith(f"tls_server_config.key_file: {pair.key_file} is protected by a password")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("tls_server_config:\nhttp_server_config:\nbasic_auth_users:\nrate_limit:\n", WebConfig()),
        ("tls_server_config: {}", WebConfig()),
        ("tls_server_config: {cert_file: '', key_file: ''}", WebConfig()),
        ("http_server_config: {headers: {X-XSS-Protection: 1}}", {"X-XSS-Protection": "1"}),
    ],
)
def test_what_exporter_toolkit_reads_is_read(tmp_path: Path, text: str, read: WebConfig | dict[str, str]):
    config = load_web_config(written(tmp_path, text))

    assert (dict(config.headers()) if isinstance(read, dict) else config) == read


def test_a_user_whose_name_is_a_number_is_read(tmp_path: Path):
    config = load_web_config(written(tmp_path, {"basic_auth_users": {12345678: HASH}}))

    assert config.basic_auth_users == {"12345678": HASH}


@pytest.mark.parametrize(
    ("interval", "seconds"), [("1s", 1), ("1.5s", 1.5), ("100ms", 0.1), ("1m30s", 90), ("250µs", 0.00025), (0, 0)]
)
def test_the_rate_limits_interval_is_written_as_in_go(tmp_path: Path, interval: Any, seconds: float):
    limit = load_web_config(written(tmp_path, {"rate_limit": {"interval": interval, "burst": 5}})).rate_limit

    assert (limit.interval, limit.burst) == (pytest.approx(seconds), 5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"min_version": "TLS12"}, ""),
        ({"cipher_suites": ["TLS_AES_128_GCM_SHA256"]}, "all three suites of TLS 1.3"),
        (
            {"cipher_suites": ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"], "min_version": "TLS13"},
            "suites of TLS 1.2 have no effect",
        ),
    ],
)
def test_suites_that_cannot_be_chosen_are_remarked_upon(tmp_path: Path, given: dict[str, Any], said: str):
    found = list(remarks(load_web_config(tls(tmp_path, **given))))

    assert len(found) == bool(said)
    assert said in "".join(found)


def test_http2_is_remarked_upon_where_it_is_asked_for(tmp_path: Path):
    [remark] = remarks(load_web_config(written(tmp_path, {"http_server_config": {"http2": True}})))

    assert remark.startswith("http_server_config.http2: true has no effect")
    assert not list(remarks(load_web_config(written(tmp_path, {"http_server_config": {"http2": False}}))))


def test_the_clients_choice_of_suite_is_followed_only_where_it_is_asked_for(tmp_path: Path):
    import ssl

    for chosen_here in (True, False):
        file = tls(tmp_path, prefer_server_cipher_suites=chosen_here)
        config = load_web_config(file).tls_server_config
        assert config is not None
        assert bool(server_context(config, file).options & ssl.OP_CIPHER_SERVER_PREFERENCE) is chosen_here


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        (("IP Address", "0:0:0:0:0:0:0:1"), "::1"),
        (("IP Address", "10.0.0.1"), "10.0.0.1"),
        (("email", "sre@example.net"), "sre@example.net"),
    ],
)
def test_names_are_compared_as_go_writes_them(name: tuple[str, str], allowed: str):
    assert has_allowed_san({"subjectAltName": (name,)}, [allowed])


def test_a_name_of_another_kind_is_not_compared():
    assert not has_allowed_san({"subjectAltName": (("Registered ID", "1.2.3"),)}, ["1.2.3"])


def test_a_name_that_is_no_address_is_not_allowed_and_hides_no_other():
    certificate = {"subjectAltName": (("IP Address", "<invalid>"), ("DNS", "prometheus"))}

    assert not has_allowed_san(certificate, ["10.0.0.1"])
    assert has_allowed_san(certificate, ["prometheus"])
