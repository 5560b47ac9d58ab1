"""The web configuration file: what it may say, and how it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
import yaml

from exporter.errors import ConfigurationError
from exporter.web.config_file import WebConfig, load_web_config
from exporter.web.tls import has_allowed_san, server_context
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

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
    message = str(raised.value)
    assert message.startswith(f"{file}: ")
    return message.removeprefix(f"{file}: ")


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
        ({"nonsense": 1}, "Object contains unknown field `nonsense`"),
        ({"tls_server_config": {"cert_file": "a", "key_file": "b", "sertificate": 1}}, "tls_server_config: Object"),
        ({"tls_server_config": {"cert_file": "a"}}, "tls_server_config: Object missing required field `key_file`"),
        ({"http_server_config": {"headers": {"X-Powered-By": "x"}}}, "http_server_config.headers: Object contains"),
        ({"http_server_config": {"headers": {"X-Frame-Options": "x"}}}, "http_server_config.headers.X-Frame-Options"),
        ({"basic_auth_users": {"prometheus": "secret"}}, "basic_auth_users: the password of 'prometheus' is not a"),
        ({"basic_auth_users": ["prometheus"]}, "basic_auth_users: Expected `object`"),
        ("a: [", "is not YAML"),
        ("tls_server_config: {}\nbasic_auth_users: {}\ntls_server_config: {}\n", "line 3: tls_server_config is given"),
        ("basic_auth_users:\n  me: a\n  me: b\n", "line 3: me is given twice, first in line 2"),
        ("[" * 100_000, "is not YAML: line 1, column 51: more than 50 levels deep"),
        ("- 1", "Expected `object`"),
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
        ({"min_version": "TLS14"}, "tls_server_config.min_version: Invalid enum value 'TLS14'"),
        ({"min_version": "TLS13", "max_version": "TLS12"}, "tls_server_config.min_version: TLS13 is above"),
        ({"client_auth_type": "RequireAnyClientCert"}, "tls_server_config.client_auth_type: a certificate that"),
        ({"client_auth_type": "RequireAndVerifyClientCert"}, "tls_server_config.client_auth_type: Require"),
        ({"client_ca_file": "ca.pem"}, "tls_server_config.client_ca_file: client_auth_type does not ask"),
        ({"client_allowed_sans": ["a"]}, "tls_server_config.client_allowed_sans: needs client_auth_type"),
        (
            {"client_auth_type": "VerifyClientCertIfGiven", "client_ca_file": "absent.pem"},
            "tls_server_config.client_ca_file: ",
        ),
        ({"cipher_suites": ["TLS_NONSENSE"]}, "tls_server_config.cipher_suites: 'TLS_NONSENSE' is not known"),
        ({"curve_preferences": ["CurveP1"]}, "tls_server_config.curve_preferences: 'CurveP1' is not one of"),
        ({"curve_preferences": ["X25519", "CurveP256"]}, "tls_server_config.curve_preferences: only one curve"),
        ({"key_file": "absent.key"}, "tls_server_config: "),
    ],
)
def test_wrong_tls_is_named(tmp_path: Path, given: dict[str, Any], message: str):
    assert refusal(tls(tmp_path, **given)).startswith(message)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path):
    other = Authority(tmp_path, "Other CA").issue("other")

    message = refusal(tls(tmp_path, key_file=other.key_file))

    assert message.endswith("key values mismatch")


def test_suites_are_chosen_by_their_registered_names(tmp_path: Path):
    file = tls(tmp_path, cipher_suites=["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"], curve_preferences=["CurveP384"])
    config = load_web_config(file).tls_server_config
    assert config is not None

    context = server_context(config, file)

    names = {cipher["name"] for cipher in context.get_ciphers() if not cipher["name"].startswith("TLS_")}
    assert names == {"ECDHE-ECDSA-AES256-GCM-SHA384"}


def test_every_registered_suite_is_known_to_openssl(tmp_path: Path):
    from exporter.web.tls import _TLS12_SUITES

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
