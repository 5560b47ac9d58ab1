"""Addresses, URLs and topics: what is let through, and how the rest is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.addresses import (
    address_problems,
    check_grpc_target,
    check_http_url,
    check_otlp_endpoint,
    check_pulsar_url,
    check_topic,
    grpc_listen_address,
    listen_addresses,
)
from exporter.config.settings import PulsarSettings, PulsarTlsSettings, Settings
from exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKS = [
    check_grpc_target,
    check_http_url,
    check_otlp_endpoint,
    check_pulsar_url,
    check_topic,
    grpc_listen_address,
    listen_addresses,
]

GRPC_TARGETS = [
    "bridge.example.net:50051",
    "bridge.example.net",
    "bridge:1",
    "under_score:65535",
    "10.0.0.1:50051",
    "0.0.0.0:50051",
    "[::1]:50051",
    "[fe80::1%eth0]:50051",
    "dns:bridge:50051",
    "dns:///bridge.example.net:50051",
    "dns:///[::1]:50051",
    "dns://10.0.0.53:53/bridge:50051",
    "DNS:///bridge:50051",
    "ipv4:10.0.0.1:50051",
    "ipv4:///10.0.0.1:50051",
    "ipv4:10.0.0.1:50051,10.0.0.2:50051",
    "ipv6:[fd00::1]:50051",
    "ipv6:%5Bfd00::1%5D:50051",
    "unix:bridge.sock",
    "unix:/run/bridge.sock",
    "unix:///run/bridge.sock",
    "unix-abstract:bridge",
    "xds:///bridge",
]
PULSAR_URLS = [
    "pulsar://broker:6650",
    "pulsar://broker",
    "pulsar://broker/",
    "pulsar+ssl://broker:6651",
    "pulsar+ssl://one:6651,two:6651",
    "pulsar://one,two:6650",
    "pulsar://10.0.0.1:6650",
]
OTLP_ENDPOINTS = [
    "http://collector:4317",
    "http://collector:4317/",
    "https://collector:4317",
    "https://collector",
    "http://[::1]:4317",
    "collector:4317",
    "dns:///collector:4317",
]
HTTP_URLS = [
    "http://alertmanager:9093",
    "https://alertmanager.example.net",
    "https://mimir/alertmanager/",
    "http://10.0.0.1:9093",
    "http://[::1]:9093/a/b",
]
TOPICS = [
    "persistent://lb-conn/dict/rate-limit-alerts",
    "persistent://public/default/a.b_c",
    "persistent://public/default/alerts-partition-0",
]


@pytest.mark.parametrize(
    ("check", "text"),
    [
        *((check_grpc_target, text) for text in GRPC_TARGETS),
        *((check_pulsar_url, text) for text in PULSAR_URLS),
        *((check_otlp_endpoint, text) for text in OTLP_ENDPOINTS),
        *((check_http_url, text) for text in HTTP_URLS),
        *((check_topic, text) for text in TOPICS),
    ],
)
def test_what_works_is_let_through(check: Callable[[str, str], None], text: str) -> None:
    check("key", text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://bridge:50051", "'https://bridge:50051' is not a gRPC target; write host:port, without https://"),
        ("http://bridge", "'http://bridge' is not a gRPC target; write host:port, without http://"),
        ("grpc://bridge:50051", "'grpc://bridge:50051' is not a gRPC target; write host:port, without grpc://"),
        ("https://user:hush@bridge", "'https://********@bridge' is not a gRPC target"),
        ("user:hush@bridge:50051", "'********@bridge:50051' has no host name or address; write host:port"),
        ("bridge:0", "'bridge:0' has no port from 1 to 65535; write host:port"),
        ("bridge:65536", "has no port from 1 to 65535"),
        ("bridge:", "has no port from 1 to 65535"),
        ("bridge:grpc", "has no port from 1 to 65535"),
        ("bridge:+1", "has no port from 1 to 65535"),
        ("bridge:٣", "has no port from 1 to 65535"),
        ("bridge:50051/path", "has no port from 1 to 65535"),
        (":50051", "':50051' has no host; write host:port"),
        ("", "'' has no host; write host:port"),
        (" bridge:50051", "holds white space or what cannot be printed"),
        ("bridge:50051\n", "holds white space or what cannot be printed"),
        ("two words:50051", "has no host name or address"),
        ("a..b:50051", "has no host name or address"),
        ("a" * 64 + ":50051", "has no host name or address"),
        ("münchen:50051", "has no host name or address"),
        ("one,two:50051", "has no host name or address"),
        ("::1", "holds an IPv6 address without brackets"),
        ("fd00::1:50051", "holds an IPv6 address without brackets"),
        ("[nonsense]:50051", "has no host name or address"),
        ("dns://bridge:50051", "has no host where dns: has it; write dns:///host:port"),
        ("dns:///", "has no host where dns: has it"),
        ("dns:", "has no host where dns: has it"),
        ("dns:///bridge:0", "has no port from 1 to 65535; write dns:///host:port"),
        ("dns://10.0.0.53/bridge", "names its DNS server without address and port; write dns://10.0.0.1:53/host:port"),
        ("dns://10.0.0.53:0/bridge", "has no port from 1 to 65535; write dns://10.0.0.1:53/host:port"),
        ("bridge]:50051", "has no host name or address"),
        ("dns://ns.example:53/bridge", "names its DNS server without address and port"),
        ("ipv4:bridge:50051", "is not an ipv4 address and port; write ipv4:10.0.0.1:50051"),
        ("ipv4:10.0.0.1", "is not an ipv4 address and port"),
        ("ipv4:[::1]:50051", "is not an ipv4 address and port"),
        ("ipv4://10.0.0.1:50051", "has no host name or address"),
        ("ipv6:[::1]", "is not an ipv6 address and port; write ipv6:[fd00::1]:50051"),
        ("unix:", "names nothing; write unix:path"),
        ("unix://bridge.sock", "names a server; write unix:path or unix:///path"),
        ("passthrough:///bridge:50051", "is not a gRPC target"),
    ],
)
def test_what_grpc_cannot_connect_to_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^bridge\.target: ") as refused:
        check_grpc_target("bridge.target", text)

    assert said in str(refused.value)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("0.0.0.0:9862", [("0.0.0.0", 9862)]),
        (":9862", [("", 9862)]),
        ("[::]:9862", [("::", 9862)]),
        ("localhost:0", [("localhost", 0)]),
        ("[fe80::1%eth0]:1", [("fe80::1%eth0", 1)]),
        ("127.0.0.1:1, [::1]:2", [("127.0.0.1", 1), ("::1", 2)]),
    ],
)
def test_addresses_to_listen_on(text: str, parsed: list[tuple[str, int]]) -> None:
    assert listen_addresses("web.listen_address", text) == parsed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' has no port; write 0.0.0.0:9862 or [::]:9862"),
        ("9862", "'9862' has no port"),
        ("0.0.0.0", "'0.0.0.0' has no port"),
        ("0.0.0.0:70000", "has no port from 0 to 65535"),
        ("0.0.0.0:-1", "has no port from 0 to 65535"),
        ("0.0.0.0:9862/metrics", "has no port from 0 to 65535"),
        ("http://0.0.0.0:9862", "is a URL; write 0.0.0.0:9862 or [::]:9862, without http://"),
        ("::1:9862", "is not an address"),
        ("*:9862", "is not an address"),
        ("two words:9862", "is not an address"),
        ("127.0.0.1:1,", "'' has no port"),
    ],
)
def test_what_nobody_can_listen_on_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^web\.listen_address: ") as refused:
        listen_addresses("web.listen_address", text)

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0.0.0.0:9863", "0.0.0.0:9863"),
        (":9863", "[::]:9863"),
        ("[::1]:9863", "[::1]:9863"),
        ("unix:/run/feed.sock", "unix:/run/feed.sock"),
    ],
)
def test_grpc_gets_an_address_that_it_listens_on(text: str, written: str) -> None:
    assert grpc_listen_address("feed.listen_address", text) == written


@pytest.mark.parametrize("text", ["unix:", "unix://", "unix:///"])
def test_a_socket_without_a_path_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^feed\.listen_address: .* names nothing; write unix:path"):
        grpc_listen_address("feed.listen_address", text)


@pytest.mark.parametrize("text", [":9862,:9862", "127.0.0.1:1, 127.0.0.1:1", "[::1]:9862,[::1]:9862"])
def test_an_address_to_listen_on_is_named_once(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^web\.listen_address: .* names an address twice"):
        listen_addresses("web.listen_address", text)


def test_any_port_may_be_asked_for_twice() -> None:
    assert listen_addresses("web.listen_address", "127.0.0.1:0,127.0.0.1:0") == [("127.0.0.1", 0)] * 2


@pytest.mark.parametrize("text", ["0.0.0.0:70000", "dns:///localhost:0", "http://0.0.0.0:9863", "a:1,b:2"])
def test_what_grpc_cannot_listen_on_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^feed\.listen_address: .*write 0"):
        grpc_listen_address("feed.listen_address", text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://broker:8080", "is the address of the broker's HTTP service; write pulsar://host:6650"),
        ("broker:6650", "is not a service URL; write pulsar://host:6650 or pulsar+ssl://host:6651"),
        ("PULSAR://broker", "is not a service URL"),
        ("pulsar+tls://broker", "is not a service URL"),
        ("kafka://broker", "is not a service URL"),
        ("", "'' is not a service URL"),
        ("pulsar://", "has no host; write pulsar://host:6650"),
        ("pulsar://one,,two", "has no host"),
        ("pulsar+ssl://one,", "has no host; write pulsar+ssl://host:6651"),
        ("pulsar://one;two", "has no host name or address"),
        ("pulsar://one,pulsar://two", "has a path"),
        ("pulsar://broker:0", "has no port from 1 to 65535"),
        ("pulsar://broker:70000", "has no port from 1 to 65535"),
        ("pulsar://broker:6650 ", "has no port from 1 to 65535"),
        ("pulsar://broker:6650/tenant", "has a path"),
        ("pulsar://broker:6650?token=hush", "'pulsar://broker:6650?token=********' has a path"),
        ("pulsar://user:hush@broker", "'pulsar://********@broker' holds a user; write pulsar://host:6650"),
        ("pulsar://[::1]:6650", "holds an IPv6 address, which Pulsar's client does not take"),
    ],
)
def test_what_is_no_service_url_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^pulsar\.service_url: ") as refused:
        check_pulsar_url("pulsar.service_url", text)

    assert said in str(refused.value)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("non-persistent://lb-conn/dict/alerts", "keeps nothing"),
        ("alerts", "is not the full name of a topic; write persistent://tenant/namespace/topic"),
        ("lb-conn/dict/alerts", "is not the full name of a topic"),
        ("persistent://lb-conn/alerts", "is not the full name of a topic"),
        ("persistent://lb-conn/dict/", "is not the full name of a topic"),
        ("persistent://a/b/c/d/e", "is not the full name of a topic"),
        ("persistent://lb-conn/cluster/dict/alerts", "names a cluster, as Pulsar 1 did"),
        ("topic://lb-conn/dict/alerts", "is not a topic"),
        ("persistent://lb conn/dict/alerts", "has a tenant or namespace of other characters"),
        ("persistent://lb-conn/dict/two words", "holds white space"),
        ("persistent://lb-conn/dict/bell\a", "holds white space or what cannot be printed"),
        ("", "is not the full name of a topic"),
    ],
)
def test_what_is_no_topic_that_keeps_events_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^pulsar\.topic: ") as refused:
        check_topic("pulsar.topic", text)

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://collector:4318/v1/traces", "has a path, which is for OTLP over HTTP"),
        ("http://collector", "has no port; write http://collector:4317"),
        ("https://", "has no host; write https://collector:4317"),
        (
            "https://key:hush@collector",
            "holds a user; write https://collector:4317, and set OTEL_EX",
        ),
        ("https://collector?api_key=hush", "has a path"),
        ("http://collector:0", "has no port from 1 to 65535"),
        ("grpc://collector:4317", "is not a gRPC target; write host:port, without grpc://"),
        ("", "has no host"),
    ],
)
def test_what_is_no_endpoint_of_otlp_over_grpc_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^tracing\.otlp_endpoint: ") as refused:
        check_otlp_endpoint("tracing.otlp_endpoint", text)

    assert said in str(refused.value)
    assert "hush" not in str(refused.value)


ADDRESS_LIKE = st.one_of(
    st.text(),
    st.from_regex(r"(dns|ipv4|ipv6|unix|xds|pulsar|pulsar\+ssl|http|https|persistent):/{0,3}[a-z0-9:,.@/\[\]%-]{0,20}"),
    st.from_regex(r"[a-z0-9.\[\]:,%-]{0,12}:[0-9]{0,7}[a-z/]?"),
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alertmanager:9093", "'alertmanager:9093' is not an HTTP URL; write http://alertmanager:9093 or"),
        ("ftp://a", "is not an HTTP URL; write http://alertmanager:9093 or https://host:9093/prefix"),
        ("http://user:hush@a:9093", "'http://********@a:9093' holds a user; write"),
        ("http://a:9093?x=1", "has a query; write"),
        ("http://a:9093/api/v2/alerts", "has the path of the API, which is added to it; write"),
        ("http://a:9093/prefix/api/v2/", "has the path of the API, which is added to it; write"),
        ("http://a:99999", "has no port from 1 to 65535; write"),
        ("http:///alerts", "has no host; write"),
        ("http://a b", "holds white space or what cannot be printed; write"),
    ],
)
def test_what_is_no_base_url_of_an_alertmanager_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_http_url("alertmanager.targets", text)

    assert said in str(refused.value)
    assert "hush" not in str(refused.value)


@given(st.sampled_from(CHECKS), ADDRESS_LIKE)
def test_no_text_is_more_than_refused_in_one_line(check: Callable[[str, str], object], text: str) -> None:
    refusal = ""
    try:
        check("some.key", text)
    except ConfigurationError as error:
        refusal = str(error)

    assert not refusal or re.match(r"some\.key: ['\"]", refusal)
    assert len(refusal.splitlines()) < 2


@given(
    st.sampled_from([check_grpc_target, check_http_url, check_pulsar_url, check_otlp_endpoint]),
    st.text("abc0:/[]?,. ", max_size=9),
)
def test_what_stands_before_an_at_sign_is_not_shown(check: Callable[[str, str], None], text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check("some.key", f"{text}user:HUSH@{text}")

    assert "HUSH" not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bridge": {"target": "https://b"}}, "bridge.target: 'https://b' is not a gRPC target"),
        ({"feed": {"targets": ["a:1", "http://b:1"]}}, "feed.targets: 'http://b:1' is not a gRPC target"),
        ({"feed": {"listen_address": "x"}}, "feed.listen_address: 'x' has no port"),
        ({"web": {"listen_address": "x"}}, "web.listen_address: 'x' has no port"),
        ({"pulsar": {"service_url": "x"}}, "pulsar.service_url: 'x' is not a service URL"),
        ({"pulsar": {"topic": "x"}}, "pulsar.topic: 'x' is not the full name"),
        ({"alertmanager": {"targets": ["http://a", "b"]}}, "alertmanager.targets: 'b' is not an HTTP URL"),
        ({"alertmanager": {"external_url": "b"}}, "alertmanager.external_url: 'b' is not an HTTP URL"),
        ({"tracing": {"otlp_endpoint": "a b"}}, "tracing.otlp_endpoint: 'a b' has no host"),
    ],
)
def test_every_address_of_the_settings_is_checked(changed: dict[str, object], said: str) -> None:
    [problem] = address_problems(msgspec.convert(changed, Settings))

    assert f"{problem.key}: {problem.message}".startswith(said)


def test_the_defaults_are_let_through() -> None:
    assert list(address_problems(Settings())) == []


@pytest.mark.parametrize("tls", [PulsarTlsSettings(ca_file="ca.pem"), PulsarTlsSettings(validate_hostname=False)])
def test_tls_without_an_encrypted_connection_to_the_broker_is_refused(tls: PulsarTlsSettings) -> None:
    def found(url: str) -> list[str]:
        return [p.message for p in address_problems(Settings(pulsar=PulsarSettings(service_url=url, tls=tls)))]

    assert found("pulsar+ssl://broker") == []
    assert found("pulsar://broker") == ["'pulsar://broker' is plaintext, and pulsar.tls is set; write pulsar+ssl://"]
