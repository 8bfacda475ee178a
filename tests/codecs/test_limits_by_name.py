"""A limit that is raised reaches every reader: none holds a copy of its number."""

import ast
from pathlib import Path

import steelyard


def test_no_module_imports_the_number_of_a_limit():
    copies = [
        (path.name, each.name)
        for path in Path(steelyard.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "steelyard.codecs.limits"
        for each in node.names
        if each.name.isupper()
    ]
    assert copies == []
