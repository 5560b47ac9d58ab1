"""The command as a shell runs it: how it ends, whatever happens to its output or its keyboard; what it completes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli.main import cli
from tests.support.ports import free_port
from tests.support.program import ROOT, RULES
from tests.support.script import environment, script

CLI_MD = (ROOT / "docs" / "cli.md").read_text()
NOWHERE = "postgresql://u@127.0.0.1:1/d"
BAD_RULES = "groups: nonsense\n"
STARTS = {"PARTICIPANTS": "12345678", "BRIDGE__TARGET": "127.0.0.1:1", "BRIDGE__INSECURE": "true"}


@pytest.fixture
def command(tmp_path) -> Path:
    return script(tmp_path)


def settings(**variables: object) -> dict[str, str]:
    return environment(**{f"DICT_RATE_LIMIT_{name}": str(value) for name, value in variables.items()})


def commands(group, *before: str) -> list[tuple[str, ...]]:
    """Every command, and every group of them."""
    names = [before]
    for name, sub in group.commands.items():
        names += commands(sub, *before, name) if hasattr(sub, "commands") else [(*before, name)]
    return names


ALL = commands(cli)
PRINTING = [*((*names, "--help") for names in ALL), ("config", "check"), ("config", "schema"), ("--version",)]
PRINTING += [("rules", "check", str(RULES)), ("rules", "test", str(ROOT / "rules/tests/dict-rate-limit.test.yml"))]


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_full_disk_is_one_line_and_1(command, arguments) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [command, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, env=settings(), check=False
        )

    assert done.returncode == 1
    assert done.stderr == "dict-rate-limit: standard output cannot be written to: No space left on device\n"


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_reader_that_has_left_is_no_news(command, arguments) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [command, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, env=settings(), check=False
    )
    os.close(writing)

    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("imported", ["click.core", "exporter.config.settings", "exporter.cli.history"])
@pytest.mark.parametrize("arguments", [("run",), ("alerts",), ("config", "check"), ("demo",)], ids=" ".join)
def test_ctrl_c_while_it_is_being_loaded_ends_it_at_once_and_quietly(command, arguments, imported) -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", command, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=settings(),
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.rstrip().endswith(f" {imported}"))
        process.send_signal(signal.SIGINT)
        said = [line for line in process.stderr if not line.startswith("import time:")]

    assert (process.returncode, said) == (-signal.SIGINT, [])


def ended_by(case: str, command: Path, folder: Path) -> int:
    """Plays a row of the table of exit codes; returns how the command ended."""
    (folder / "rules.yml").write_text(BAD_RULES)
    rules = {**STARTS, "DATABASE__DSN": NOWHERE, "RULES__FILES": folder / "rules.yml"}
    played: dict[str, tuple[str, dict[str, object]]] = {
        "it is done": ("config check", {}),
        "the work failed": ("alerts", {"DATABASE__DSN": NOWHERE}),
        "something was found": (f"rules check {folder / 'rules.yml'}", {}),
        "standard output cannot be written to": ("config check", {}),
        "wrong usage": ("nonsense", {}),
        "wrong configuration": ("config check", {"POLL__INTERVAL": "never"}),
        "a rule file does not load": ("run", rules | {"WEB__LISTEN_ADDRESS": f"127.0.0.1:{free_port()}"}),
        "a service was stopped by SIGTERM or SIGINT": ("exporter", STARTS | {"WEB__LISTEN_ADDRESS": "127.0.0.1:0"}),
        "Ctrl-C": ("exporter", STARTS | {"WEB__LISTEN_ADDRESS": "127.0.0.1:0"}),
    }
    line, variables = played[case]
    output = "/dev/full" if case.startswith("standard output") else os.devnull
    with Path(output).open("wb") as stdout:
        process = subprocess.Popen(
            # A shell shows the death of a signal as 128 and its number.
            [shutil.which("sh") or "sh", "-c", f"exec {command} {line}"],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env=settings(**variables),
        )
        assert process.stderr is not None
        if case == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        if case.startswith("a service"):
            next(said for said in process.stderr if "listening" in said)
            process.send_signal(signal.SIGTERM)
        process.communicate()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


ROWS = re.findall(r"^\| (\d+) \| (.*) \|$", CLI_MD.partition("<!--")[0], re.MULTILINE)


@pytest.mark.parametrize(("code", "when"), ROWS, ids=lambda cell: cell.partition(":")[0])
def test_each_row_of_the_table_of_exit_codes_is_so(command, tmp_path, code, when) -> None:
    assert ended_by(re.split("[:,]", when)[0], command, tmp_path) == int(code)


def completed(shell: str, words: str, command: Path) -> list[str]:
    variables = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    if shell == "fish":
        variables["COMP_CWORD"] = words.rsplit(maxsplit=1)[-1]
    mode = {"_DICT_RATE_LIMIT_COMPLETE": f"{shell}_complete"}
    done = subprocess.run(
        [command], env=environment(**variables, **mode), stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_documented_line_of_each_shell_says_how_to_complete(command, shell) -> None:
    lines = [line for line in CLI_MD.splitlines() if f"_DICT_RATE_LIMIT_COMPLETE={shell}_source" in line]
    (line,) = lines
    asking = line.removeprefix('eval "$(').removesuffix(')"').removesuffix(" | source")

    done = subprocess.run(
        ["bash", "-c", asking],
        env=environment(PATH=f"{command.parent}:{os.environ['PATH']}"),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )

    assert f"_DICT_RATE_LIMIT_COMPLETE={shell}_complete" in done.stdout
    assert "alerts" in " ".join(completed(shell, "dict-rate-limit al", command))


def test_bash_completes_commands_flags_and_values_after_the_documented_line(command) -> None:
    (line,) = (line for line in CLI_MD.splitlines() if "bash_source" in line)
    tried = "\n".join(
        f"COMPREPLY=(); COMP_WORDS=({words}); COMP_CWORD={len(words.split()) - 1}; "
        '_dict_rate_limit_completion dict-rate-limit; echo "${COMPREPLY[@]}"'
        for words in ("dict-rate-limit al", "dict-rate-limit alerts --sev", "dict-rate-limit alerts --severity cr")
    )

    done = subprocess.run(
        ["bash", "-c", f"{line}\n{tried}"],
        env=environment(PATH=f"{command.parent}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == ["alerts", "--severity", "critical"]
