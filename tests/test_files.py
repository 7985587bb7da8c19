import errno
import os
import re
import time
from pathlib import Path

import pytest

from talkinghead import files
from talkinghead.errors import DiskFull, OutputExists, OutputNotWritable
from talkinghead.files import check_new_file, new_file


def test_a_new_file_appears_only_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "out.npz"

    with new_file(target) as part:
        part.write_bytes(b"whole")
        assert not target.exists()
        assert part.parent == tmp_path
        assert re.fullmatch(r"\.out\.npz\.[0-9a-f]{32}\.part\.npz", part.name)

    assert os.listdir(tmp_path) == ["out.npz"]
    assert target.read_bytes() == b"whole"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_failure_keeps_the_old_file_and_leaves_no_part(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")

    with pytest.raises(error), new_file(target, force=True) as part:  # noqa: PT012
        part.write_bytes(b"half")
        raise error

    assert os.listdir(tmp_path) == ["out.mp4"]
    assert target.read_bytes() == b"old"


def test_nothing_is_replaced_unless_asked(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")

    with pytest.raises(OutputExists, match="exists already"), new_file(target):
        pytest.fail("must be refused before any work")
    with new_file(target, force=True) as part:
        part.write_bytes(b"new")

    assert target.read_bytes() == b"new"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"

    with pytest.raises(OutputExists), new_file(target) as part:  # noqa: PT012
        part.write_bytes(b"mine")
        target.write_bytes(b"theirs")

    assert target.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_bad_targets_are_refused_before_any_work(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    bad = {
        "missing/out.mp4": "the folder .*missing does not exist",
        "": "is a folder",
        "pipe": "is a pipe or a device",
        f"{'x' * 300}.mp4": "cannot be written: File name too long",
    }

    for name, words in bad.items():
        with pytest.raises(OutputNotWritable, match=words), new_file(tmp_path / name, force=True):
            pytest.fail("must be refused before any work")

    assert os.listdir(tmp_path) == ["pipe"]


def test_a_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # root may write anywhere, so the answer of the system is replaced
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    with pytest.raises(OutputNotWritable, match="read-only"):
        check_new_file(tmp_path / "out.mp4")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_full_disk_has_its_own_error(number: int, tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match=r"out\.mp4: no space left"), new_file(tmp_path / "out.mp4"):
        raise OSError(number, os.strerror(number))

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 251 + ".mp4", "名" * 83 + ".mp4", "-dash.mp4", "a b'c\n💬.mp4", ".hidden"])
def test_any_name_the_file_system_takes_is_fine(name: str, tmp_path: Path) -> None:
    with new_file(tmp_path / name) as part:
        part.write_bytes(b"whole")

    assert os.listdir(tmp_path) == [name]


def test_parts_left_by_killed_runs_are_swept_after_a_day(tmp_path: Path) -> None:
    old, new = (tmp_path / f".out.mp4.{digit * 32}.part{suffix}" for digit, suffix in (("a", ".wav"), ("b", ".mp4")))
    of_another = tmp_path / f".other.mp4.{'a' * 32}.part.mp4"
    for path in (old, new, of_another):
        path.touch()
    for path in (old, of_another):
        os.utime(path, (0, time.time() - files.STALE_SECONDS - 60))

    with new_file(tmp_path / "out.mp4") as part:
        part.write_bytes(b"whole")

    assert sorted(os.listdir(tmp_path)) == sorted([new.name, of_another.name, "out.mp4"])


def test_the_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (order.append("sync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("rename"), replace(*paths)))

    with new_file(tmp_path / "out.mp4") as part:
        part.write_bytes(b"whole")

    assert order == ["sync", "rename", "sync"]


def test_a_relative_name_means_the_folder_at_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    with new_file("out.mp4") as part:
        part.write_bytes(b"whole")
        os.chdir("elsewhere")

    assert (tmp_path / "out.mp4").exists()
