"""Imports point one way: down the list. Parts on one line never import each other."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "talkinghead"
LAYERS = [
    ["__main__"],
    ["cli"],
    ["bench", "contact_sheet", "doctor", "dub_report", "redetection"],
    ["timing"],
    ["evaluation"],
    ["training"],
    ["demo", "pipeline"],
    ["dubbing", "speakers", "streaming"],
    ["presets"],
    ["animators", "motion", "audio_encoder"],
    ["face", "weights"],
    ["protocols"],
    ["types"],
    ["audio", "image", "video"],
    ["sound"],
    ["ffmpeg"],
    ["files", "settings", "blendshapes", "pixels"],
    ["errors"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Names of this package's layers that the file at `path` imports, anywhere in it."""
    found = set()
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        absolute = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        absolute += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not any(name.split(".")[0] == "talkinghead" for name in absolute), "import this package relatively"
    return found


def test_every_file_has_a_layer() -> None:
    assert {layer(path) for path in FILES} == set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    mine = layer(path)
    for name in imported(path) - {mine}:
        assert RANK[name] > RANK[mine], f"{mine} must not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_and_files_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{node.name} is long"
