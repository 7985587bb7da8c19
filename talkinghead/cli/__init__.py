"""The command line: `talkinghead speak face.png hello.wav -o hello.mp4`."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Any

import typer

from ..errors import TalkingHeadError
from . import dubbing, liveportrait, looking, speaking, training, training_dit
from .app import app

__all__ = ["app", "dubbing", "liveportrait", "looking", "main", "speaking", "training", "training_dit"]


def main() -> None:
    """Run the command line: errors are one line on stderr and exit code 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that part files are cleared away
    _quiet_native_logs()
    warnings.showwarning = _show_warning
    try:
        app()
    except (TalkingHeadError, ValueError, OSError) as error:
        hint = getattr(error, "hint", "")
        typer.echo(f"talkinghead: {error}" + (f" ({hint})" if hint else ""), err=True)
        sys.exit(1)


def _quiet_native_logs() -> None:
    """Keep stderr for Python: MediaPipe and TensorFlow Lite write there from C++ and cannot be asked not to.

    Only in this process, which is ours. TALKINGHEAD_NATIVE_LOGS=1 shows what they write.
    """
    if os.environ.get("TALKINGHEAD_NATIVE_LOGS") or sys.stderr is None:
        return
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    from ..errors import TalkingHeadWarning

    if issubclass(category, TalkingHeadWarning):
        typer.echo(f"talkinghead: warning: {message}", err=True)
