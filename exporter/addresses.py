"""Addresses, URLs and topics: those that can never work are refused at the start; why others cannot be listened on.

Every check takes the key that names the value in its error, and raises
ConfigurationError saying what to write instead. Secrets in a URL are masked.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NoReturn

from exporter.config.secrets import MASK, without_secrets
from exporter.config.settings import PulsarTlsSettings, Settings, value_of
from exporter.config.validation import Problem
from exporter.errors import ConfigurationError

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_RESOLVER: Final = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|xds):(.*)", re.IGNORECASE | re.DOTALL)
_DNS: Final = re.compile(r"(?://(?P<server>[^/]*)/|/)?(?P<name>[^/].*)")
_HOST: Final = re.compile(r"(?=.{1,254}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_NAME: Final = re.compile(r"[-=:.\w]+", re.ASCII)


def address_problems(settings: Settings) -> Iterator[Problem]:
    """Yields what is wrong with the addresses that are configured."""
    for key, check in _CHECKS.items():
        value = value_of(settings, key)
        for text in value if isinstance(value, tuple) else (value,):
            try:
                if text is not None and (text or key != "bridge.target"):
                    check(key, text)
            except ConfigurationError as error:
                yield Problem(key, str(error).removeprefix(f"{key}: "))
    url, tls = settings.pulsar.service_url, settings.pulsar.tls
    if url is not None and url.startswith("pulsar://") and tls != PulsarTlsSettings():
        message = f"{_safe(url)!r} is plaintext, and pulsar.tls is set; write pulsar+ssl://"
        yield Problem("pulsar.service_url", message, ("pulsar.tls",))


def check_grpc_target(key: str, text: str) -> None:
    """Refuses what gRPC cannot connect to: it takes ``host:port`` and its own schemes. No port means 443."""
    if not text.isprintable() or text != text.strip():
        _refuse(key, text, "holds white space or what cannot be printed; write host:port")
    if resolver := _RESOLVER.fullmatch(text):
        _check_resolved(key, text, resolver[1].lower(), resolver[2])
    elif scheme := _SCHEME.match(text):
        _refuse(key, text, f"is not a gRPC target; write host:port, without {scheme[1]}://")
    else:
        _check_host_and_port(key, text, text, "host:port")


def grpc_listen_address(key: str, text: str) -> str:
    """Returns what gRPC can listen on: ``host:port``, or ``unix:path``; no host means every interface."""
    if text.startswith("unix:") and text.isprintable():
        _check_resolved(key, text, "unix", text.removeprefix("unix:"))
        return text
    host, port = _listen_address(key, text, "0.0.0.0:9863 or [::]:9863")
    return f"[{host or '::'}]:{port}" if ":" in host or not host else f"{host}:{port}"


def listen_addresses(key: str, text: str) -> list[tuple[str, int]]:
    """Returns hosts and ports to listen on, of addresses separated by commas.

    No host, as in ``:9862``, means every interface; port 0 means any port.
    """
    addresses = [_listen_address(key, part.strip(), "0.0.0.0:9862 or [::]:9862") for part in text.split(",")]
    fixed = [address for address in addresses if address[1]]
    if len(set(fixed)) < len(fixed):
        _refuse(key, text, "names an address twice")
    return addresses


def check_pulsar_url(key: str, text: str) -> None:
    """Refuses what is not a service URL: ``pulsar://`` or ``pulsar+ssl://``, and hosts separated by commas."""
    form = "pulsar://host:6650 or pulsar+ssl://host:6651"
    refuse_if = partial(_refuse_if, key, text)
    scheme, separator, hosts = text.partition("://")
    hosts = hosts.removesuffix("/")
    is_http = scheme in ("http", "https") and separator
    refuse_if(is_http, f"is the address of the broker's HTTP service; write {form}")
    refuse_if(scheme not in ("pulsar", "pulsar+ssl") or not separator, f"is not a service URL; write {form}")
    refuse_if("@" in hosts, f"holds a user; write {form}, and set pulsar.token")
    refuse_if(re.search(r"[/?#]", hosts), f"has a path; write {form}")
    for host in hosts.split(","):
        is_ipv6 = host.startswith("[")
        refuse_if(is_ipv6, "holds an IPv6 address, which Pulsar's client does not take; write a host name")
        _check_host_and_port(key, text, host, f"{scheme}://host:{6651 if scheme == 'pulsar+ssl' else 6650}")


def check_topic(key: str, text: str) -> None:
    """Refuses what is not the full name of a topic that keeps its messages."""
    form = "persistent://tenant/namespace/topic"
    refuse_if = partial(_refuse_if, key, text)
    scheme, separator, path = text.partition("://")
    parts = path.split("/")
    is_lost = text.startswith("non-persistent://")
    refuse_if(is_lost, f"keeps nothing: a consumer that is not connected loses events; write {form}")
    refuse_if(not separator, f"is not the full name of a topic; write {form}")
    refuse_if(scheme != "persistent", f"is not a topic; write {form}")
    refuse_if(len(parts) == 4 and all(parts), f"names a cluster, as Pulsar 1 did; write {form}")
    refuse_if(len(parts) != 3 or not all(parts), f"is not the full name of a topic; write {form}")
    are_names = all(_NAME.fullmatch(name) for name in parts[:2])
    refuse_if(not are_names, "has a tenant or namespace of other characters than letters, digits and - = : . _")
    refuse_if(_has_space(parts[2]), "holds white space or what cannot be printed")


def check_http_url(key: str, text: str) -> None:
    """Refuses what is no base URL of an HTTP service: ``http://`` or ``https://``, a host, and perhaps a path."""
    form, instead = "http://alertmanager:9093 or https://host:9093/prefix", ", and set alertmanager.basic_auth"
    if key.endswith("external_url"):
        form, instead = "https://host:9862 or https://host/prefix", ""
    refuse_if = partial(_refuse_if, key, text)
    scheme, separator, rest = text.partition("://")
    authority, _, path = rest.partition("/")
    refuse_if(_has_space(text), f"holds white space or what cannot be printed; write {form}")
    refuse_if(not separator or scheme.lower() not in ("http", "https"), f"is not an HTTP URL; write {form}")
    refuse_if("@" in authority, f"holds a user; write {form}{instead}")
    refuse_if(re.search(r"[?#]", rest), f"has a query; write {form}")
    is_api = f"/{path}".rstrip("/").endswith(("/api/v1/alerts", "/api/v2/alerts", "/api/v2"))
    refuse_if(is_api, f"has the path of the API, which is added to it; write {form}")
    _check_host_and_port(key, text, authority, form)


def check_otlp_endpoint(key: str, text: str) -> None:
    """Refuses what OTLP over gRPC cannot send to: ``http://`` (plaintext), ``https://``, or a target of gRPC."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        check_grpc_target(key, text)
        return
    form = f"{scheme.lower()}://collector:4317"
    refuse_if = partial(_refuse_if, key, text)
    authority = rest.removesuffix("/")
    refuse_if("@" in rest, f"holds a user; write {form}, and set OTEL_EXPORTER_OTLP_HEADERS")
    has_path = re.search(r"[/?#]", authority)
    refuse_if(has_path, f"has a path, which is for OTLP over HTTP; traces are sent over gRPC: write {form}")
    _, port = _check_host_and_port(key, text, authority, form)
    refuse_if(port is None and scheme.lower() == "http", f"has no port; write {form}")


def _check_resolved(key: str, text: str, scheme: str, rest: str) -> None:
    if scheme in ("unix", "unix-abstract", "xds"):
        form = f"{scheme}:{'path' if scheme == 'unix' else 'name'}"
        _refuse_if(key, text, not rest.strip("/"), f"names nothing; write {form}")
        names_server = scheme == "unix" and re.match(r"//[^/]", rest)
        _refuse_if(key, text, names_server, "names a server; write unix:path or unix:///path")
    elif scheme == "dns":
        parts = _DNS.fullmatch(rest)
        if parts is None:
            _refuse(key, text, "has no host where dns: has it; write dns:///host:port")
        if parts["server"]:
            form = "dns://10.0.0.1:53/host:port"
            host, port = _check_host_and_port(key, text, parts["server"], form)
            is_address = port is not None and _version(host) is not None
            _refuse_if(key, text, not is_address, f"names its DNS server without address and port; write {form}")
        _check_host_and_port(key, text, parts["name"], "dns:///host:port")
    else:
        form = "ipv4:10.0.0.1:50051" if scheme == "ipv4" else "ipv6:[fd00::1]:50051"
        for address in rest.removeprefix("///").replace("%5B", "[").replace("%5D", "]").split(","):
            host, port = _check_host_and_port(key, text, address, form)
            is_address = port is not None and _version(host) == scheme
            _refuse_if(key, text, not is_address, f"is not an {scheme} address and port; write {form}")


def _listen_address(key: str, address: str, form: str) -> tuple[str, int]:
    refuse_if = partial(_refuse_if, key, address)
    if scheme := _SCHEME.match(address):
        _refuse(key, address, f"is a URL; write {form}, without {scheme[1]}://")
    host, colon, port = address.rpartition(":")
    refuse_if(not colon, f"has no port; write {form}")
    refuse_if(host and not _is_host(host), f"is not an address; write {form}")
    refuse_if(not _is_port(port, lowest=0), f"has no port from 0 to 65535; write {form}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _check_host_and_port(key: str, text: str, address: str, form: str) -> tuple[str, int | None]:
    """Returns them, the port where there is one."""
    refuse_if = partial(_refuse_if, key, text)
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        host, colon, port = address, "", ""
    is_bare_ipv6 = not address.startswith("[") and "ipv6" in (_version(address), _version(host))
    refuse_if(is_bare_ipv6, f"holds an IPv6 address without brackets; write [address]:port in {form}")
    refuse_if(not host, f"has no host; write {form}")
    refuse_if(not _is_host(host), f"has no host name or address; write {form}")
    refuse_if(colon and not _is_port(port), f"has no port from 1 to 65535; write {form}")
    return host, int(port) if colon else None


def _is_host(host: str) -> bool:
    if host.startswith("[") and host.endswith("]"):
        return _version(host) == "ipv6"
    # No host name ends in a number.
    return _HOST.fullmatch(host) is not None and (
        not re.search(r"(?:^|\.)[0-9]+\.?$", host) or _version(host) == "ipv4"
    )


def _version(host: str) -> str | None:
    try:
        return f"ipv{ipaddress.ip_address(host.removeprefix('[').removesuffix(']')).version}"
    except ValueError:
        return None


def _is_port(port: str, lowest: int = 1) -> bool:
    return re.fullmatch("[0-9]{1,9}", port) is not None and lowest <= int(port) <= 65535


def _has_space(text: str) -> bool:
    return not text.isprintable() or re.search(r"\s", text) is not None


def _refuse_if(key: str, text: str, condition: object, why: str) -> None:
    if condition:
        _refuse(key, text, why)


def _refuse(key: str, text: str, why: str) -> NoReturn:
    raise ConfigurationError(f"{key}: {_safe(text)!r} {why}")


def _safe(text: str) -> str:
    # Text before an @ may be a password, in a URL or not.
    return re.sub(r"[^/\s]*@", f"{MASK}@", without_secrets(text))


def socket_reason(error: OSError) -> str:
    """Returns the system's words for ``error``, as the end of a sentence."""
    if isinstance(error, socket.gaierror):
        return str(error.strerror).lower()
    words = os.strerror(error.errno) if error.errno else str(error)
    return words[:1].lower() + words[1:]


def listen_failure(address: str) -> str:
    """Returns why gRPC, which does not say, could not listen on ``host:port`` or ``unix:path``."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        folder = os.path.dirname(path) or "."  # noqa: PTH120 - as it is written
        return "a file of that name exists already" if os.path.exists(path) else f"{folder} cannot be written to"  # noqa: PTH110
    host, _, port = address.rpartition(":")
    try:
        addresses = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, (name, *_) in addresses:
            socket.create_server((name, int(port)), family=family).close()
    except OSError as error:
        return socket_reason(error)
    return "it could not be opened, and can be now: try again"


_CHECKS: Final[dict[str, Callable[[str, str], object]]] = {
    "bridge.target": check_grpc_target,
    "feed.targets": check_grpc_target,
    "feed.listen_address": grpc_listen_address,
    "web.listen_address": listen_addresses,
    "pulsar.service_url": check_pulsar_url,
    "pulsar.topic": check_topic,
    "alertmanager.targets": check_http_url,
    "alertmanager.external_url": check_http_url,
    "tracing.otlp_endpoint": check_otlp_endpoint,
}
