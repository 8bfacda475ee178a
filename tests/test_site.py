"""The documentation as a site: built once, and what it asks of other hosts, lets copy, finds and shows to everybody."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import axe
import pytest
from playwright.sync_api import sync_playwright

import steelyard
from steelyard import plot, results

ROOT = Path(__file__).parent.parent
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OF_THE_TESTS = {"frameworks", "holders", "test", "check", "docs"}


def test_the_reference_has_each_public_name():
    found = set(re.findall(r"^::: (\S+)$", (ROOT / "docs/reference.md").read_text(), re.MULTILINE))
    names = {f"steelyard.{name}" for name in steelyard.__all__ if name not in ("__version__", "limits", "plot", "results")}
    names |= {f"steelyard.plot.{name}" for name in plot.__all__}
    types = [getattr(results, name) for name in results.__all__]
    names |= {f"{each.__module__}.{each.__qualname__}" for each in types}
    assert names - found == set()


def test_the_table_of_extras_is_that_of_the_package():
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \| [\d.]+ MB \|$", (ROOT / "docs/install.md").read_text(), re.MULTILINE)
    extras = {name: wanted for name, wanted in PROJECT["optional-dependencies"].items() if name not in OF_THE_TESTS}
    assert dict(rows) == {name: ", ".join(re.split("[<>=]", each)[0] for each in wanted) for name, wanted in extras.items()}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages, without those that take long: the reference has all docstrings."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    (folder / "docs" / "reference.md").write_text("# Reference\n\n::: steelyard.Weights\n")
    (folder / "zensical.toml").write_text((ROOT / "zensical.toml").read_text())
    (folder / "src").symlink_to(ROOT / "src")
    subprocess.run([sys.executable, "-m", "zensical", "build"], cwd=folder, check=True, capture_output=True)
    subprocess.run([sys.executable, ROOT / "scripts/llms.py", folder / "site"], check=True, capture_output=True)
    return folder / "site"


def test_no_page_loads_anything_from_another_host(site):
    pages = [*site.rglob("*.html")]
    assert len(pages) > 20
    loads = r"""<(?:script|img|iframe|source)[^>]*src=["']?(?:https?:)?//|<link[^>]*href=["']?(?:https?:)?//|url\(["']?(?:https?:)?//"""
    for page in [*pages, *site.rglob("*.css")]:
        assert not re.search(loads, page.read_text()), page


def test_programs_find_all_pages_in_llms_txt_and_all_docstrings_in_the_full_one(site):
    listed = re.findall(r"^- \[.+?\]\((\S+)\): \S", (site / "llms.txt").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    assert all((site / page).exists() for page in listed)
    assert steelyard.Weights.to_vector.__doc__.partition("\n")[0] in (site / "llms-full.txt").read_text()


@pytest.fixture(scope="module")
def address(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def page_of(chromium, address):
    contexts = []

    def page(path="", width=1440, **options):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}, **options))
        opened = contexts[-1].new_page()
        opened.set_default_timeout(120_000)  # on a busy machine a page of hundreds of parts takes long
        opened.goto(address + path)
        opened.wait_for_selector("nav.md-code__nav[aria-label]", state="attached")
        return opened

    yield page
    for each in contexts:
        each.close()


@pytest.mark.parametrize(
    ("path", "width", "scheme", "word"), [("", 1440, "light", "default"), ("install/", 390, "dark", "slate")]
)
def test_pages_have_no_fault_that_axe_finds(page_of, path, width, scheme, word):
    page = page_of(path, width, color_scheme=scheme)
    page.wait_for_selector(f"body[data-md-color-scheme={word}]", state="attached")
    axe.load(page)
    assert axe.faults(page, "html") == []


THINNED = "[...document.querySelectorAll('article .doc-object')].forEach((each, nth) => { if (nth % 20) each.remove(); })"
"""One in twenty parts of the reference, which all have the same markup: axe takes minutes for hundreds of them."""
DARK = """document.body.dataset.mdColorScheme = "slate"; document.getAnimations().forEach((each) => each.finish())"""


def test_no_content_of_any_page_has_a_fault_that_axe_finds_light_or_dark(page_of, address):
    page, found = page_of(color_scheme="light"), {}
    for path in sorted("" if page.stem == "index" else f"{page.stem}/" for page in (ROOT / "docs").glob("*.md")):
        page.emulate_media(color_scheme="light")
        page.goto(address + path)
        page.wait_for_selector("body[data-md-color-scheme=default]", state="attached")
        axe.load(page)
        page.evaluate(THINNED)
        found[path, "light"] = axe.faults(page, "article")
        page.emulate_media(color_scheme="dark")
        page.evaluate(DARK)
        found[path, "dark"] = axe.faults(page, "article", contrast_only=True)
    assert {page: faults for page, faults in found.items() if faults} == {}


@pytest.mark.parametrize("width", [1440, 390])
def test_no_code_of_the_first_page_is_cut_and_no_page_scrolls_sideways(page_of, width):
    page = page_of(width=width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cut = "[...document.querySelectorAll('.language-python code, .language-sh code')].filter((each) => each.scrollWidth > each.clientWidth)"
    assert page.evaluate(f"{cut}.length") == 0


def test_the_copy_button_gives_what_was_typed_without_prompts_and_outputs(page_of):
    page = page_of("recipes/", permissions=["clipboard-read", "clipboard-write"])
    block = page.locator(".highlight", has_text="steelyard.size(net)")
    block.hover()
    block.locator('[data-md-type="copy"]').click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.splitlines()[0] == "size = steelyard.size(net)"
    assert ">>>" not in copied
    assert "bfloat16" not in copied


def test_a_search_answers_without_a_network(page_of, address):
    page = page_of()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="Search").first.click()
    page.wait_for_timeout(500)
    page.keyboard.type("quantise")
    page.get_by_text(re.compile(r"^[1-9]\d* results?$")).first.wait_for()
    assert all(url.startswith((address, "blob:", "data:")) for url in asked)
