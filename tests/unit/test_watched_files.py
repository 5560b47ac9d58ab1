"""A change of a file is seen however it came about, and believed when the file stands still."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.watched_files import STABLE_SECONDS, WatchedFiles

if TYPE_CHECKING:
    from collections.abc import Callable


class Now:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.seconds = time.time()

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_text("one")
    return file


def watching(file: Path, now: Now) -> WatchedFiles:
    watched = WatchedFiles(monotonic=now.monotonic)
    watched.take([str(file)])
    return watched


def exchange_by_rename(file: Path) -> None:
    new = file.with_suffix(".new")
    new.write_text("two")
    new.replace(file)


def exchange_by_link(file: Path) -> None:
    """As Kubernetes does: the folder behind a link is another."""
    folder = file.parent / "..data"
    if not folder.is_symlink():
        (file.parent / "first").mkdir()
        folder.symlink_to("first")
        file.replace(folder / "file")
        file.symlink_to("..data/file")
        return
    (file.parent / "second").mkdir()
    (file.parent / "second" / "file").write_text("one")
    link = file.parent / "..tmp"
    link.symlink_to("second")
    link.replace(folder)


CHANGES = {
    "written": lambda file: file.write_text("two!"),
    "written with the same length": lambda file: file.write_text("two"),
    "emptied": lambda file: os.truncate(file, 0),
    "removed": Path.unlink,
    "renamed": exchange_by_rename,
    "linked": exchange_by_link,
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_change_is_believed_once_the_file_stands_still(file: Path, now: Now, how: str) -> None:
    change: Callable[[Path], object] = CHANGES[how]
    if how == "linked":
        change(file)
    watched = watching(file, now)
    assert not watched.changed()

    change(file)

    assert not watched.changed()
    assert watched.is_restless
    now.seconds += STABLE_SECONDS
    assert watched.changed()


def test_who_goes_on_writing_is_waited_for(file: Path, now: Now) -> None:
    watched = watching(file, now)
    for text in ("", "t", "tw", "two"):
        file.write_text(text)
        os.utime(file, (now.seconds, now.seconds))
        now.seconds += STABLE_SECONDS - 0.1
        assert not watched.changed()
    now.seconds += STABLE_SECONDS

    assert watched.changed()


@pytest.mark.parametrize("age_seconds", [3600, 0, -3600])
def test_a_files_own_time_says_nothing_of_whether_it_is_whole(file: Path, now: Now, age_seconds: float) -> None:
    watched = watching(file, now)
    file.write_text("half")
    os.utime(file, (now.seconds - age_seconds, now.seconds - age_seconds))
    assert not watched.changed()

    now.seconds += STABLE_SECONDS

    assert watched.changed()


def test_a_file_that_is_again_what_it_was_has_not_changed(file: Path, now: Now) -> None:
    kept = file.stat()
    watched = watching(file, now)
    file.write_text("two")
    assert not watched.changed()
    file.write_text("one")
    os.utime(file, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    now.seconds += STABLE_SECONDS

    assert not watched.changed()
    assert not watched.is_restless


def test_what_was_taken_is_no_change_any_more(file: Path, now: Now) -> None:
    watched = watching(file, now)
    file.write_text("two")
    watched.take([str(file)])
    now.seconds += STABLE_SECONDS

    assert not watched.changed()


def test_a_file_that_comes_and_one_that_goes_are_changes(file: Path, now: Now) -> None:
    watched, other = watching(file, now), file.with_name("other")
    other.write_text("x")

    for names in ([str(file), str(other)], []):
        assert not watched.changed(names)
        now.seconds += STABLE_SECONDS
        assert watched.changed(names)


def test_files_that_are_added_are_watched_from_then_on(file: Path, now: Now) -> None:
    watched, other = watching(file, now), file.with_name("other")
    other.write_text("x")
    watched.add([str(other)])
    assert not watched.changed()
    other.write_text("y")
    now.seconds += STABLE_SECONDS

    watched.changed()
    now.seconds += STABLE_SECONDS
    assert watched.changed()
