"""When the web configuration file, or what it names, is to be read again; what is listened on."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from exporter.config.settings import WebSettings
from exporter.errors import ConfigurationError
from exporter.web.server.own_url import own_url
from exporter.web.server.server import address_of, open_listeners
from exporter.web.server.tls import WebConfigFile
from tests.support.certificates import Authority
from tests.support.ports import free_port

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


ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


def addresses(text: str) -> list[str]:
    with ExitStack() as stack:
        return [address_of(stack.enter_context(listener)) for listener in open_listeners(text)]


def test_port_0_becomes_the_real_port():
    [address] = addresses("127.0.0.1:0")

    host, port = address.split(":")
    assert host == "127.0.0.1"
    assert int(port) > 0


def test_several_addresses_are_separated_by_commas():
    assert len(addresses("127.0.0.1:0, 127.0.0.1:0")) == 2


@ipv6
def test_ipv6_is_written_in_brackets():
    [address] = addresses("[::1]:0")

    assert address.startswith("[::1]:")


@ipv6
@pytest.mark.parametrize("text", [":0", "[::]:0"])
@pytest.mark.parametrize("client", ["127.0.0.1", "::1"])
def test_every_interface_is_one_of_both_families(text: str, client: str):
    [listener] = open_listeners(text)

    with listener, socket.create_connection((client, listener.getsockname()[1])):
        pass


@ipv6
def test_both_families_may_be_listed_one_by_one():
    port = free_port()

    assert addresses(f"0.0.0.0:{port},[::]:{port}") == [f"0.0.0.0:{port}", f"[::]:{port}"]


def test_a_name_is_resolved():
    assert addresses("localhost:0")


def test_a_port_in_use_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(ConfigurationError) as raised:
            open_listeners(f"127.0.0.1:{port}")

    assert str(raised.value) == f"web.listen_address: cannot listen on 127.0.0.1:{port}: address already in use"


def test_nothing_stays_open_where_one_address_fails():
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigurationError):
        open_listeners(f"127.0.0.1:{port},127.0.0.1:{taken.getsockname()[1]}")

    assert addresses(f"127.0.0.1:{port}") == [f"127.0.0.1:{port}"]


def test_an_unknown_host_is_named():
    with pytest.raises(ConfigurationError, match=r"cannot listen on no-such-host\.invalid:80: "):
        open_listeners("no-such-host.invalid:80")


@pytest.mark.parametrize(
    "text", ["", "9862", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "::1:80", "[::1]", "a:b", "http://a:1", "a:1/b"]
)
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(ConfigurationError, match=r"^web\.listen_address: .*; write .*0\.0\.0\.0:9862 or \[::\]:9862"):
        open_listeners(text)
