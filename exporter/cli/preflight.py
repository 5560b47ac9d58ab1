"""Checks of the configuration before a role starts; `config check` runs the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from exporter import files
from exporter.addresses import address_problems
from exporter.certificates import tls_problems
from exporter.config.configuration import Configuration, variable_of
from exporter.config.settings import AlertmanagerSettings, PulsarTlsSettings, Settings, TlsSettings, value_of
from exporter.config.validation import Problem
from exporter.errors import ConfigurationError, RuleFileInvalid
from exporter.web.server.tls import WebConfigFile, remarks

Role = Literal["run", "exporter", "reconciler"]

_NEEDED: Final[dict[Role, tuple[str, ...]]] = {
    "run": ("participants", "bridge.target", "database.dsn"),
    "exporter": ("participants", "bridge.target"),
    "reconciler": ("feed.targets", "database.dsn"),
}


def check_start(configuration: Configuration, role: Role | None) -> list[str]:
    """Returns remarks on the settings; adds to ``configuration`` the problems for which the start would be refused.

    Without a role no setting is required, and what is set is checked as the role that uses it would.
    """
    settings = configuration.settings
    configuration.add(address_problems(settings))
    configuration.add(_missing(settings, role))
    if settings.database.dsn is not None and role != "exporter":
        configuration.add(_dsn_problems(settings))
    if role in ("run", "exporter") or (role is None and configuration.is_set("bridge")):
        configuration.add(_tls_problems(settings, "bridge"))
    serves_feed = role in ("exporter", None) and settings.feed.listen_address is not None
    if serves_feed or role == "reconciler" or (role is None and configuration.is_set("feed")):
        configuration.add(_tls_problems(settings, "feed", server=serves_feed))
    remarks = []
    if role != "exporter":
        configuration.add(_file_problems("pulsar.tls", settings.pulsar.tls))
        configuration.add(_alertmanager_problems(settings.alertmanager))
        remarks = _alertmanager_remarks(settings.alertmanager)
    if _has_rules(configuration, role):
        configuration.add(_pattern_problems(settings))
    return [*remarks, *_check_web(configuration)]


def check_rules(configuration: Configuration, role: Role | None) -> list[str]:
    """Returns the problems of the rule files, if the role has any: a start reads them later."""
    if not _has_rules(configuration, role) or configuration.is_wrong("rules.files"):
        return []
    from exporter.rules.files.compiler import Options
    from exporter.rules.files.loading import load

    rules = configuration.settings.rules
    try:
        load(rules.files, Options(rules.max_range), allow_none=rules.allow_none)
    except RuleFileInvalid as error:
        return str(error).splitlines()
    return []


def _has_rules(configuration: Configuration, role: Role | None) -> bool:
    return role in ("run", "reconciler") or (role is None and configuration.is_set("rules.files"))


def _missing(settings: Settings, role: Role | None) -> Iterator[Problem]:
    for key in _NEEDED[role] if role is not None else ():
        if not value_of(settings, key):
            yield Problem(key, f"not set; set it in the configuration file or as {variable_of(key)}")


def _dsn_problems(settings: Settings) -> Iterator[Problem]:
    from exporter.store.connections import check_dsn, configured_dsn

    try:
        check_dsn(configured_dsn(settings.database))
    except ConfigurationError as error:
        yield Problem("database.dsn", str(error).removeprefix("database.dsn: "))


def _tls_problems(settings: Settings, section: str, *, server: bool = False) -> Iterator[Problem]:
    tls: TlsSettings = value_of(settings, f"{section}.tls")
    if value_of(settings, f"{section}.insecure"):
        keys = tuple(f"{section}.tls.{key}" for key in tls.__struct_fields__ if getattr(tls, key))
        if keys:
            yield Problem(f"{section}.insecure", "true is plaintext, and tls is configured; keep one of them", keys)
        return
    if server:
        missing = next((key for key in ("cert_file", "key_file", "ca_file") if not getattr(tls, key)), None)
        if missing is not None:
            why = "a server needs cert_file and key_file (or insecure: true, which is plaintext)"
            if missing == "ca_file":
                why = "it says which client certificates are accepted"
            yield Problem(f"{section}.tls.{missing}", f"not set; {why}", (f"{section}.listen_address",))
    yield from _file_problems(f"{section}.tls", tls)


def _file_problems(section: str, tls: TlsSettings | PulsarTlsSettings) -> Iterator[Problem]:
    for key, message in tls_problems(tls):
        yield Problem(f"{section}.{key}", message)


def _alertmanager_problems(settings: AlertmanagerSettings) -> Iterator[Problem]:
    yield from _file_problems("alertmanager.tls", settings.tls)
    if settings.targets and settings.tls != TlsSettings() and len(_plaintext(settings)) == len(settings.targets):
        message = "is set, and every target is plaintext; write https:// in targets"
        yield Problem("alertmanager.tls", message, ("alertmanager.targets",))


def _alertmanager_remarks(settings: AlertmanagerSettings) -> list[str]:
    if settings.basic_auth.password is None and settings.bearer_token is None:
        return []
    return [f"alertmanager.targets: {target} is plaintext, and gets the password" for target in _plaintext(settings)]


def _plaintext(settings: AlertmanagerSettings) -> list[str]:
    return [target for target in settings.targets if not target.lower().startswith("https://")]


def _pattern_problems(settings: Settings) -> Iterator[Problem]:
    from exporter.rules.files.loading import matching_files

    for pattern in settings.rules.files:
        if not matching_files([pattern]):
            yield Problem("rules.files", f"{pattern!r} matches no file (a relative path begins in {Path.cwd()})")


def _check_web(configuration: Configuration) -> list[str]:
    path = configuration.settings.web.config_file
    if path is None:
        return []
    try:
        files.read(path)
        config, _ = WebConfigFile(path).read()
    except OSError as error:
        configuration.add([Problem("web.config_file", f"{path} cannot be read: {error.strerror}")])
    except ConfigurationError as error:
        configuration.problems += error.problems
    else:
        return [f"{path}: {remark}" for remark in remarks(config)]
    return []
