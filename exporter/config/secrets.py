"""Secrets, read from text or a file, and settings printed without them."""

from __future__ import annotations

import logging
import re
from typing import Any, Final, Self

import msgspec

from exporter import files
from exporter.durations import Duration
from exporter.errors import ConfigurationError
from exporter.watched_files import STABLE_SECONDS, WatchedFiles

log = logging.getLogger(__name__)

MASK: Final = "********"
_USER_INFO: Final = re.compile(r"(?<=://)[^/?#\s]*@")
_SECRET_PARAMETER: Final = re.compile(r"(?i)([?&][\w.-]*(?:token|password|secret|key|signature)[\w.-]*=)[^&#\s]+")


class Secret(str):
    """Text that is never printed. With a ``file``, `reveal` returns what that file holds at the time."""

    __slots__ = ("_file",)
    _file: SecretFile | None

    def __new__(cls, text: str, file: SecretFile | None = None) -> Self:
        secret = super().__new__(cls, text)
        secret._file = file
        return secret

    def __repr__(self) -> str:
        return repr(MASK)

    def reveal(self) -> str:
        return str.__str__(self) if self._file is None else self._file.text()

    def __str__(self) -> str:
        return MASK

    def __format__(self, _spec: str) -> str:
        return MASK


class SecretFile:
    """A file that holds a secret, read again when it has changed.

    A change that leaves no usable secret (nothing, or no text) is logged once, and
    the last secret stays in use. Raises ConfigurationError where the first cannot be read.
    """

    def __init__(self, variable: str, file: str, stable_seconds: float = STABLE_SECONDS) -> None:
        self._variable = variable
        self._file = file
        self._watched = WatchedFiles(stable_seconds)
        self._text = self._read()

    def text(self) -> str:
        if self._watched.changed():
            try:
                self._text = self._read()
            except ConfigurationError as error:
                log.error("changed secret is unusable, keeping the last one", extra={"error": str(error)})  # noqa: TRY400
            else:
                log.info("secret reloaded", extra={"variable": self._variable, "file": self._file})
        return self._text

    def _read(self) -> str:
        self._watched.take([self._file])
        try:
            secret = files.read(self._file).decode().strip()
        except OSError as error:
            raise ConfigurationError(f"{self._variable}: {self._file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ConfigurationError(f"{self._variable}: {self._file} is not text in UTF-8") from None
        if not secret:
            raise ConfigurationError(f"{self._variable}: {self._file} is empty")
        return secret


def masked(value: Any) -> Any:
    """Returns settings, or one of their values, as plain values: secrets masked, durations as written."""
    if isinstance(value, msgspec.Struct):
        return {field: masked(getattr(value, field)) for field in value.__struct_fields__}
    if isinstance(value, tuple):
        return [masked(item) for item in value]
    if isinstance(value, dict):
        return {name: masked(item) for name, item in value.items()}
    if isinstance(value, (Duration, Secret)):
        return str(value)
    return without_secrets(value) if isinstance(value, str) else value


def without_secrets(text: str) -> str:
    """Returns ``text`` with the secrets of its URLs masked: user and password, tokens in the query."""
    return _SECRET_PARAMETER.sub(rf"\1{MASK}", _USER_INFO.sub(f"{MASK}@", text))
