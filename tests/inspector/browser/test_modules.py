"""Checks the source text of the page's modules for things they must not do."""

import posixpath
import re

import pytest

from steelyard.inspector.assets import page_files, run_files

FILES = {**run_files(), **page_files()}
MODULES = {name: text for name, text in FILES.items() if name.endswith(".js")}
ENTRIES = ("report.js", "served.js", "notebook.js", "run/report.js", "run/served.js")
FORBIDDEN = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc|localStorage|cookie"
NAMESPACE = "http://www.w3.org/2000/svg"
MAY_IMPORT = {
    "data": {"data"},
    "draw": {"data", "draw"},
    "parts": {"data", "draw", "parts"},
    "run": {"data", "draw", "run"},
    "": {"data", "draw", "parts", ""},
}
"""The folders from which the modules of a folder may import; the entries and `page.js` are in the page's own folder."""


def imports(name):
    """Return the paths of the modules that a module imports."""
    statements = re.findall(r"^(?:import\b|export\s*[*{])[^;]*;", MODULES[name], re.MULTILINE)
    found = re.findall(r'\bfrom "(\.[^"]*)";', "\n".join(statements))
    assert len(found) == len(statements)
    return {posixpath.normpath(posixpath.join(posixpath.dirname(name), each)) for each in found}


@pytest.mark.parametrize("name", MODULES)
def test_modules_do_not_turn_text_into_markup_or_code_or_contain_an_address(name):
    text = MODULES[name].replace(NAMESPACE, "")
    assert re.findall(FORBIDDEN, text) == []
    assert re.findall(r"\b(?:https?|wss?)://", text) == []
    assert re.findall(r"\bimport\s*\(", re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)) == []


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_short_and_imports_only_from_folders_below(name):
    assert len(MODULES[name].splitlines()) < 400
    folder = posixpath.dirname(name)
    assert imports(name) <= set(MODULES)
    assert {posixpath.dirname(each) for each in imports(name)} <= MAY_IMPORT[folder]


def test_every_module_is_reached_from_an_entry():
    reached, waiting = set(), list(ENTRIES)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += imports(name)
    assert reached == set(MODULES)


def test_the_style_sheet_and_the_page_load_nothing_from_elsewhere():
    for name in ("page.css", "net.css", "run/run.css"):
        assert re.findall(r"url\(|@import", FILES[name]) == []
    assert re.findall(r'(?:src|href)="([^"]*)"', FILES["index.html"]) == ["data:,", "page.css", "net.css", "served.js"]
    of_run = re.findall(r'(?:src|href)="([^"]*)"', run_files()["index.html"])
    assert of_run == ["data:,", "page.css", "run/run.css", "run/served.js"]


def test_the_page_of_a_run_has_each_module_that_it_imports():
    assert all(imports(name) <= set(run_files()) for name in run_files() if name.endswith(".js"))
