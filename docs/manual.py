"""Manual pages from click's help: one for the program, one for each command. Written by `docs.generate`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from exporter.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path(__file__).parent / "man"
PROGRAM: Final = "dict-rate-limit"
SECTION: Final = 1
SITE: Final = "https://github.com/lb-conn/dict-rate-limit-exporter"

_SPECIAL: Final = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti"}

EXIT_STATUS: Final = {
    "0": "done",
    "1": "the work failed, or something was found",
    "2": "the command line, the configuration or a rule file is wrong: nothing was begun",
    "130": "interrupted by Ctrl-C; more often the signal itself ends the process",
}
ENVIRONMENT: Final = {
    "DICT_RATE_LIMIT_SECTION__KEY": "a key of the configuration, and stronger than the file",
    "DICT_RATE_LIMIT_SECTION__KEY_FILE": "a file that holds a secret",
}


def pages() -> dict[Path, str]:
    """Returns what each page should hold, by file."""
    return {FOLDER / f"{name.replace(' ', '-')}.{SECTION}": page(name, command) for name, command in _all()}


def page(name: str, command: click.Command) -> str:
    """Returns one page, in roff's macros ``man``."""
    context = context_of(name, command)
    text = inspect.cleandoc(command.help or "")
    first, _, rest = text.partition("\n\n")
    dashed = name.replace(" ", "-")
    lines = [
        f'.TH "{dashed.upper()}" "{SECTION}" "" "{PROGRAM}" "User commands"',
        ".SH NAME",
        f"{_escaped(dashed)} \\- {_text(_headline(first))}",
        ".SH SYNOPSIS",
        f".B {_escaped(name)}",
        _text(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        _text(first),
        *(line for paragraph in rest.split("\n\n") if paragraph for line in (".PP", _text(paragraph))),
    ]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for whole, sub in _all():
            if whole != name and not isinstance(sub, click.Group):
                lines += _item(f"\\fB{_escaped(whole)}\\fR(1)".replace(" ", "\\-"), _headline(sub.help or ""))
    options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    if options:
        lines.append(".SH OPTIONS")
    for option in options:
        record = option.get_help_record(context)
        if record is not None:
            lines += _item(f"\\fB{_escaped(record[0])}\\fR", " ".join(record[1].split()))
    for title, told in (("EXIT STATUS", EXIT_STATUS), ("ENVIRONMENT", ENVIRONMENT)):
        lines.append(f".SH {title}")
        for term, meaning in told.items():
            lines += _item(f"\\fB{_escaped(term)}\\fR", meaning)
    others = [f".BR {_escaped(PROGRAM)} (1)"] if name != PROGRAM else []
    lines += [".SH SEE ALSO", *others, ".na", f"{SITE}/blob/main/docs/cli.md"]
    return "\n".join(lines) + "\n"


def context_of(name: str, command: click.Command) -> click.Context:
    """Returns the context in which a command is told of: one that has the program's own settings."""
    program = click.Context(cli, info_name=PROGRAM, **cli.context_settings)
    return program if command is cli else click.Context(command, info_name=name, parent=program)


def walked(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    """Yields every command that does something, with its whole name."""
    for name, command in sorted(group.commands.items()):
        whole = f"{prefix} {name}"
        if isinstance(command, click.Group):
            yield from walked(command, whole)
        else:
            yield whole, command


def _all() -> Iterator[tuple[str, click.Command]]:
    """Yields the program itself, and every command that does something, with its whole name."""
    yield PROGRAM, cli
    yield from walked(cli, PROGRAM)


def _headline(help_text: str) -> str:
    """Returns the first sentence, as NAME has it: short, and without its full stop."""
    first = " ".join(help_text.partition("\n\n")[0].split())
    return re.split(r"[.:;](?= |$)", first, maxsplit=1)[0]


def _item(term: str, text: str) -> list[str]:
    return [".TP", term, _text(text)]


def _text(text: str) -> str:
    """Returns a paragraph as a line that roff takes for text."""
    made = re.sub(r"`([^`]*)`", lambda match: f"\\fB{match[1]}\\fR", _escaped(" ".join(text.split())))
    return f"\\&{made}" if made.startswith((".", "'")) else made


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)
