"""What a role needs before it starts: asked by its start, and by `config check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from exporter.config import Settings, TlsSettings

Role = Literal["run", "exporter", "reconciler"]

_NEEDED: Final[dict[Role, tuple[str, ...]]] = {
    "run": ("participants", "bridge.target", "database.dsn"),
    "exporter": ("participants", "bridge.target"),
    "reconciler": ("feed.targets", "database.dsn"),
}


def check_start(settings: Settings, role: Role | None) -> list[str]:
    """Returns what is to be said of the settings. Raises ConfigurationError for what the start would refuse.

    Without a role nothing is missing, and certificates of the others are not read.
    """
    for key in _NEEDED[role] if role is not None else ():
        _require(settings, key)
    if settings.database.dsn is not None and role != "exporter":
        from exporter.store.database import check_dsn, configured_dsn

        check_dsn(configured_dsn(settings.database))
    if role in ("run", "exporter"):
        _check_tls("bridge", settings.bridge.tls, insecure=settings.bridge.insecure)
    if role == "reconciler" or (role == "exporter" and settings.feed.listen_address is not None):
        _check_tls("feed", settings.feed.tls, insecure=settings.feed.insecure, server=role == "exporter")
    return _check_web(settings)


def _require(settings: Settings, key: str) -> None:
    value: object = settings
    for name in key.split("."):
        value = getattr(value, name)
    if not value:
        variable = "DICT_RATE_LIMIT_" + key.upper().replace(".", "__")
        raise ConfigurationError(f"{key}: not set; set it in the configuration file or as {variable}")


def _check_tls(section: str, tls: TlsSettings, *, insecure: bool, server: bool = False) -> None:
    from exporter.bridge.credentials import read_pem, server_credentials

    if insecure:
        if tls.ca_file or tls.cert_file or tls.key_file or tls.server_name:
            raise ConfigurationError(f"{section}: insecure (plaintext) and tls are both configured; keep one of them")
        return
    try:
        if server:
            server_credentials(tls)
        else:
            read_pem(tls)
    except ConfigurationError as error:
        raise ConfigurationError(f"{section}.{error}") from error


def _check_web(settings: Settings) -> list[str]:
    from exporter.web.renewal import WebConfigFile
    from exporter.web.tls import remarks

    config, _ = WebConfigFile(settings.web.config_file).read()
    return [f"{settings.web.config_file}: {remark}" for remark in remarks(config)]
