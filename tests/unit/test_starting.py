"""What a role needs before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.config import BridgeSettings, DatabaseSettings, FeedSettings, Secret, Settings, TlsSettings, WebSettings
from exporter.errors import ConfigurationError
from exporter.starting import Role, check_start
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

DSN = DatabaseSettings(dsn=Secret("host=127.0.0.1"))
BRIDGE = BridgeSettings(target="bridge:50051")
PARTICIPANTS = ("12345678",)


@pytest.mark.parametrize(
    ("role", "settings", "missing"),
    [
        ("run", Settings(bridge=BRIDGE, database=DSN), "participants"),
        ("run", Settings(participants=PARTICIPANTS, database=DSN), "bridge.target"),
        ("run", Settings(participants=PARTICIPANTS, bridge=BRIDGE), "database.dsn"),
        ("exporter", Settings(participants=PARTICIPANTS), "bridge.target"),
        ("reconciler", Settings(database=DSN), "feed.targets"),
        ("reconciler", Settings(feed=FeedSettings(targets=("a:1",))), "database.dsn"),
    ],
)
def test_what_a_role_needs_and_is_not_set_is_named(role: Role, settings: Settings, missing: str) -> None:
    variable = "DICT_RATE_LIMIT_" + missing.upper().replace(".", "__")

    with pytest.raises(ConfigurationError, match=f"^{missing}: not set; .* or as {variable}$"):
        check_start(settings, role)


def test_without_a_role_nothing_is_missing() -> None:
    assert check_start(Settings(), None) == []


def test_a_dsn_is_checked_unless_the_role_has_no_database() -> None:
    settings = Settings(
        participants=PARTICIPANTS, bridge=BRIDGE, database=DatabaseSettings(dsn=Secret("mysql://host/database"))
    )

    check_start(settings, "exporter")
    for role in ("run", None):
        with pytest.raises(ConfigurationError, match=r"^database\.dsn: begins with mysql://"):
            check_start(settings, role)


def test_certificates_of_the_role_are_read(tmp_path: Path) -> None:
    good, bad = Authority(tmp_path).tls("one"), TlsSettings(ca_file="/nowhere.pem")
    polling = {"participants": PARTICIPANTS, "bridge": BridgeSettings(target="bridge:50051", tls=good)}
    following = {"database": DSN, "feed": FeedSettings(targets=("a:1",), tls=good)}

    assert check_start(Settings(**polling, feed=FeedSettings(listen_address=":1", tls=good)), "exporter") == []
    assert check_start(Settings(**following), "reconciler") == []
    for role, settings, key in (
        ("exporter", Settings(**polling | {"bridge": BridgeSettings(target="bridge:50051", tls=bad)}), "bridge.tls"),
        ("exporter", Settings(**polling, feed=FeedSettings(listen_address=":1", tls=bad)), "feed.tls"),
        ("reconciler", Settings(**following | {"feed": FeedSettings(targets=("a:1",), tls=bad)}), "feed.tls"),
    ):
        with pytest.raises(ConfigurationError, match=rf"^{key}\."):
            check_start(settings, role)  # type: ignore[arg-type]


def test_certificates_of_another_role_are_not_read() -> None:
    elsewhere = FeedSettings(targets=("a:1",), tls=TlsSettings(ca_file="/nowhere.pem"))

    check_start(Settings(participants=PARTICIPANTS, bridge=BRIDGE, database=DSN, feed=elsewhere), "run")


def test_plaintext_and_certificates_together_are_refused() -> None:
    both = BridgeSettings(target="bridge:50051", insecure=True, tls=TlsSettings(server_name="bridge"))

    with pytest.raises(ConfigurationError, match=r"^bridge: insecure \(plaintext\) and tls are both configured"):
        check_start(Settings(participants=PARTICIPANTS, bridge=both), "exporter")


def test_the_web_configuration_file_is_read_and_remarked_upon(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    settings = Settings(web=WebSettings(config_file=str(file)))

    with pytest.raises(ConfigurationError, match="cannot be read"):
        check_start(settings, None)
    file.write_text("http_server_config: {http2: true}")
    [remark] = check_start(settings, None)

    assert remark.startswith(f"{file}: http_server_config.http2: true has no effect")
