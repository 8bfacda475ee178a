"""The modules of the page as text: what they may not do, a reader can see."""

import re
from importlib.resources import files

import pytest

FOLDER = files("steelyard.inspector") / "page"
MODULES = sorted(each.name for each in FOLDER.iterdir() if each.name.endswith(".js"))
FORBIDDEN = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc|localStorage|cookie"
NAMESPACE = "http://www.w3.org/2000/svg"


def source(name):
    return (FOLDER / name).read_text("utf-8")


@pytest.mark.parametrize("name", MODULES)
def test_no_module_makes_markup_or_code_of_text_or_knows_an_address(name):
    text = source(name).replace(NAMESPACE, "")
    assert re.findall(FORBIDDEN, text) == []
    assert re.findall(r"\b(?:https?|wss?)://", text) == []


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_short_and_imports_only_its_neighbours(name):
    text = source(name)
    assert len(text.splitlines()) < 400
    imported = re.findall(r'^\s*(?:import|export)\b.*?\bfrom "([^"]*)"', text, re.MULTILINE | re.DOTALL)
    assert len(imported) == len(re.findall(r"^import ", text, re.MULTILINE))
    assert {each.removeprefix("./") for each in imported} <= set(MODULES)
    assert all(each.startswith("./") for each in imported)


def test_every_module_is_reached_from_one_of_the_two_entries():
    reached, waiting = set(), ["opened.js", "served.js"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += re.findall(r'from "\./([^"]*)"', source(name))
    assert reached == set(MODULES)


def test_the_style_sheet_and_the_page_load_nothing_from_elsewhere():
    assert re.findall(r"url\(|@import", source("page.css")) == []
    assert re.findall(r'(?:src|href)="([^"]*)"', source("index.html")) == ["data:,", "page.css", "served.js"]
