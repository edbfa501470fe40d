"""The agent runs where nothing of ours is: Python 3.6, its standard library, and one runtime."""

import ast
import sys
from pathlib import Path

import pytest

from nas.devices import agent

ROOT = Path(agent.__path__[0])
FILES = sorted(ROOT.rglob("*.py"))
RUNTIMES = {"numpy", "onnxruntime", "openvino"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_it_is_python_3_6_and_imports_the_standard_library(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 6))
    allowed = sys.stdlib_module_names | (RUNTIMES if path.parent.name == "runtimes" else set())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = {str(node.module).partition(".")[0]}
        else:
            continue
        assert names <= allowed
        assert "dataclasses" not in names and "__future__" not in names, "newer than Python 3.6"


def test_nothing_that_python_3_6_does_not_have():
    newer = ("capture_output", "perf_counter_ns", "list[", "dict[", "tuple[", " | None", ":=")
    for path in FILES:
        for word in newer:
            assert word not in path.read_text(), f"{word} in {path.name}"
