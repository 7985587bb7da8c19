import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import bad_inputs


@pytest.fixture(scope="session")
def bad_audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bad sound files, which tests must leave as it is."""
    folder = tmp_path_factory.mktemp("bad_audio")
    bad_inputs.write_audio(folder)
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture(scope="session")
def bad_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bad images, which tests must leave as it is."""
    folder = tmp_path_factory.mktemp("bad_images")
    bad_inputs.write_images(folder)
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture(scope="session")
def bad_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bad checkpoints, which tests must leave as it is."""
    folder = tmp_path_factory.mktemp("bad_checkpoints")
    bad_inputs.write_checkpoints(folder)
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch with one thread, as a run on one core has it."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
