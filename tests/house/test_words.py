"""Every module says what it is, faces hold no logic, and nothing is left for later."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"
FILES = {str(path.relative_to(SRC)): path for path in sorted((SRC / "saccade").rglob("*.py"))}
LATER = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError|NotImplemented)\b")
FACE = (ast.Import, ast.ImportFrom)


@pytest.mark.parametrize("name", FILES)
def test_modules_say_what_they_are(name: str) -> None:
    assert ast.get_docstring(ast.parse(FILES[name].read_text()))


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_left_for_later(name: str) -> None:
    assert LATER.findall(FILES[name].read_text()) == []


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("__init__.py")])
def test_faces_hold_no_logic(name: str) -> None:
    for node in ast.parse(FILES[name].read_text()).body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_name = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("__all__", "__version__")
        assert isinstance(node, FACE) or is_text or is_name, f"{name}, line {node.lineno}"
