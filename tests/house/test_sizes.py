"""No file and no function grows beyond what can be read at one sitting."""

from __future__ import annotations

import ast
from pathlib import Path

SRC = Path(__file__).resolve().parents[2] / "src"
FILES = sorted((SRC / "saccade").rglob("*.py"))
MAX_FILE = 400
MAX_FUNCTION = 80


def test_files() -> None:
    lengths = {str(path.relative_to(SRC)): len(path.read_text().splitlines()) for path in FILES}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > MAX_FILE} == {}


def test_functions() -> None:
    lengths = {
        f"{path.relative_to(SRC)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert lengths
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION} == {}
