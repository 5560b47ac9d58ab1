"""When the web configuration file, or what it names, is to be read again."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from exporter.config import WebSettings
from exporter.errors import ConfigurationError
from exporter.web.server.config_reload import WebConfigFile, own_url
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_that_was_emptied_leaves_the_guards_in_place_and_one_that_says_so_does_not(tmp_path: Path):
    path = tmp_path / "web.yml"
    path.write_text("rate_limit: {interval: 1s, burst: 1}\n")
    file = WebConfigFile(str(path))
    file.read()
    path.write_text("")

    with pytest.raises(ConfigurationError, match=r"is empty; where that is meant, write \{\}"):
        file.read()
    path.write_text("{}")
    assert file.read()[0].rate_limit.burst == 0
    path.write_text("")
    assert WebConfigFile(str(path)).read()[0].rate_limit.burst == 0


def test_without_a_file_nothing_changes():
    assert not WebConfigFile(None).changed()


def test_a_mounted_secret_that_is_exchanged_whole_is_noticed(tmp_path: Path):
    # As Kubernetes does it: the names stay, a link to the folder behind them is turned.
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        Authority(tmp_path / version).issue("server")
        text = "tls_server_config: {cert_file: server.pem, key_file: server.key}"
        (tmp_path / version / "web.yml").write_text(text)
    (tmp_path / "..data").symlink_to(tmp_path / "1")
    for name in ("web.yml", "server.pem", "server.key"):
        (tmp_path / name).symlink_to(tmp_path / "..data" / name)
    file = WebConfigFile(str(tmp_path / "web.yml"), stable_seconds=0)
    file.read()
    assert not file.changed()

    (tmp_path / "..new").symlink_to(tmp_path / "2")
    (tmp_path / "..new").replace(tmp_path / "..data")

    assert file.changed()
    file.read()
    assert not file.changed()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("0.0.0.0:9862", f"http://{socket.gethostname()}:9862"),
        (":80,127.0.0.1:81", f"http://{socket.gethostname()}:80"),
        ("127.0.0.1:9862", "http://127.0.0.1:9862"),
        ("[::1]:9862", "http://[::1]:9862"),
        ("127.0.0.1:0", None),
    ],
)
def test_people_find_the_status_page_where_it_listens(address: str, url: str | None) -> None:
    assert own_url(WebSettings(listen_address=address)) == url


def test_they_find_it_over_tls_where_it_has_a_certificate(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("web")
    path = tmp_path / "web.yml"
    path.write_text(f"tls_server_config: {{cert_file: {pair.cert_file}, key_file: {pair.key_file}}}")

    assert own_url(WebSettings(listen_address="127.0.0.1:1", config_file=str(path))) == "https://127.0.0.1:1"
    assert own_url(WebSettings(listen_address="127.0.0.1:1", config_file="/nowhere")) == "http://127.0.0.1:1"
