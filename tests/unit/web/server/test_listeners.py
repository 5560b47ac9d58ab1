"""Listening addresses as people write them."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from exporter.errors import ConfigurationError
from exporter.web.server.listeners import address_of, open_listeners
from tests.support.ports import free_port

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
