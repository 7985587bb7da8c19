"""Files: opened only where that is safe, and written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
import uuid
import zipfile
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from .errors import DiskFull, InputError, OutputExists, OutputNotWritable

STALE_SECONDS = 24 * 3600  # a part file this old was left by a run that was killed
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_LONGEST_NAME = 255  # bytes, on every common file system


def check_path(path: object) -> None:
    """Raise TypeError unless `path` is text or a path object, ValueError if it is empty."""
    if not isinstance(path, str | PathLike):
        raise TypeError(f"a path must be text or a path object, not {type(path).__name__}")
    if not os.fspath(path):
        raise ValueError("a path must not be empty")


def local_path(path: str | PathLike[str], refused: type[InputError]) -> Path:
    """The absolute path of an input file; raises `refused` for URLs."""
    check_path(path)
    if isinstance(path, str) and _URL.match(path):
        raise refused(f"{path}: is a URL, not a file", "download it first and give the file")
    return Path(os.path.abspath(path))


def open_regular(path: Path, unreadable: type[InputError]) -> BinaryIO:
    """Open a file for reading, if it is a regular one that holds something.

    Pipes, devices and folders are turned away without waiting for them. Raises `unreadable`.
    """
    name = path.name or str(path)
    nonblocking = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, os.O_RDONLY | nonblocking)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise unreadable(f"{name}: cannot be opened: {reason}", "check the path") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise unreadable(f"{name}: is {kind}, not a regular file", "give a file")
    if not status.st_size:
        os.close(descriptor)
        raise unreadable(f"{name}: is empty (0 bytes)", "give a file that holds something")
    return os.fdopen(descriptor, "rb")


def check_unpacked(file: BinaryIO, most: int) -> None:
    """Raise ValueError if the zip archive in `file` unpacks to more than `most` bytes; nothing is unpacked for that.

    `file` is at its beginning afterwards. No reader takes more from a record than the size it is listed with, which
    is what counts here. Raises zipfile.BadZipFile, OSError, NotImplementedError if it is no archive.
    """
    with zipfile.ZipFile(file) as archive:
        size = sum(record.file_size for record in archive.infolist())
    if size > most:
        raise ValueError(f"it unpacks to {size:,} bytes, more than the {most:,} that are accepted")
    file.seek(0)


def check_new_file(path: str | PathLike[str], force: bool = False) -> Path:
    """The absolute path of a file about to be written; called before long work, it finds what would fail later.

    Raises OutputExists unless `force`; OutputNotWritable if the folder is missing or read-only, or the path is
    a folder, a pipe or a device.
    """
    check_path(path)
    target = Path(os.path.abspath(path))
    try:
        os.lstat(target)  # not stat: a link to nowhere exists too
        exists = True
    except FileNotFoundError:
        exists = False
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise _output_error(target, error) from error
    if not target.parent.is_dir():
        raise OutputNotWritable(f"{target}: the folder {target.parent} does not exist", "create it first")
    if target.is_dir():
        raise OutputNotWritable(f"{target}: is a folder", "give the name of a file in it")
    if target.exists() and not target.is_file():
        raise OutputNotWritable(f"{target}: is a pipe or a device, not a regular file", "give another name")
    if exists and not force:
        raise OutputExists(f"{target}: exists already", "replace it with force=True or --force")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputNotWritable(f"{target}: the folder {target.parent} is read-only", "choose another folder")
    return target


@contextlib.contextmanager
def new_file(path: str | PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there takes its name when the block ends without an error.

    Until then an older file of that name stays as it is, and afterwards no part file is left. The temporary name
    keeps the suffix of `path`, because encoders choose the format by it.

    Raises OutputExists unless `force`, OutputNotWritable, DiskFull.
    """
    target = check_new_file(path, force)
    _sweep(target)
    part = target.with_name(f"{_part_prefix(target)}{uuid.uuid4().hex}.part{target.suffix}")
    try:
        part.touch(exist_ok=False)
    except OSError as error:
        raise _output_error(target, error) from error
    try:
        yield part
        _sync(part)
        check_new_file(target, force)  # another program may have been faster
        os.replace(part, target)
        if os.name == "posix":  # elsewhere folders cannot be opened
            _sync(target.parent)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise _output_error(target, error) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def _output_error(target: Path, error: OSError | ValueError) -> OutputNotWritable | DiskFull:
    if getattr(error, "errno", None) in _DISK_FULL:
        return DiskFull(f"{target}: no space left to write it", "free some space or choose another folder")
    reason = getattr(error, "strerror", None) or str(error)
    return OutputNotWritable(f"{target}: cannot be written: {reason}", "choose another name or folder")


def _part_prefix(target: Path) -> str:
    """`.<name>.` of part files, cut where the whole name would be longer than file systems allow."""
    room = _LONGEST_NAME - len(f"..{'0' * 32}.part") - len(os.fsencode(target.suffix))
    return f".{os.fsencode(target.name)[:room].decode('utf-8', 'ignore')}."


def _sweep(target: Path) -> None:
    """Remove the part files of `target` that killed runs left behind."""
    pattern = re.compile(re.escape(_part_prefix(target)) + r"[0-9a-f]{32}\.part(\.\w+)?")
    with contextlib.suppress(OSError):  # tidying up must never stop the work
        for entry in os.scandir(target.parent):
            if pattern.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > STALE_SECONDS:
                os.unlink(entry.path)


def _sync(path: Path) -> None:
    """Wait until the disk holds `path`."""
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
