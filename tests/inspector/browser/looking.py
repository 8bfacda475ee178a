"""Functions that read a page: its rows, the cells of pictures, colours."""

import numpy as np

DONE = ".detail .tabbed"
MAP = ".heatmap .drawing canvas"
GRID = np.array([[-1.0, -0.5, 0.0], [0.25, 0.75, 1.0]], "f4")
"""A weight whose heat map has a cell for each number."""


def names(page):
    """Return the names in the rows of the table, from the top."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".rows > .row")].sort((a, b) => a.dataset.nth - b.dataset.nth)
        .map((row) => row.querySelector(".name").textContent)"""
    )


def column(page, title):
    """Return the texts of a column, from the top."""
    return page.evaluate(
        """(title) => {
        const heads = [...document.querySelectorAll(".head .cell")].map((head) => head.textContent);
        const rows = [...document.querySelectorAll(".rows > .row")].sort((a, b) => a.dataset.nth - b.dataset.nth);
        return rows.map((row) => row.children[heads.indexOf(title)].textContent);
        }""",
        title,
    )


def row(page, name):
    """Return the row of a name."""
    return page.locator(".rows > .row").filter(has=page.locator(f'.name[title="{name}"]'))


def open_weight(page, name):
    """Open a weight from the table, and wait for its details."""
    row(page, name).click()
    page.wait_for_selector(DONE)


def go_to(page, text):
    """Type into the index box."""
    page.fill("#place", text)
    page.press("#place", "Enter")


def tab(page, title):
    """Choose a tab."""
    page.get_by_role("tab", name=title, exact=True).click()


def pixels(page, canvas, points):
    """Return the red, green and blue of a canvas at points, given as shares of its width and height."""
    return page.locator(canvas).first.evaluate(
        """(canvas, points) => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
        copy.drawImage(canvas, 0, 0);
        const at = ([x, y]) => copy.getImageData(Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data;
        return points.map((point) => [...at(point)].slice(0, 3));
        }""",
        points,
    )


def settle(page):
    """Wait until the page has drawn twice."""
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


def eventually(page, holds):
    """Wait frame by frame until a condition holds."""
    for _ in range(600):
        if holds():
            return
        page.evaluate("new Promise((drawn) => requestAnimationFrame(drawn))")
    raise AssertionError("it does not come to hold")


def hover_cell(page, canvas, cell, cells):
    """Move the mouse over a cell of a picture of so many rows and columns."""
    found = page.locator(canvas).first
    found.scroll_into_view_if_needed()
    box = found.bounding_box()
    page.mouse.move(box["x"] + box["width"] * (cell[1] + 0.5) / cells[1], box["y"] + box["height"] * (cell[0] + 0.5) / cells[0])


def contrasts(page):
    """Return the contrast of each visible text with its background, the lowest first."""
    return page.evaluate(
        """() => {
        const parts = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
        const light = (rgb) => rgb.slice(0, 3).map((byte) => byte / 255)
            .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
            .reduce((sum, part, nth) => sum + part * [0.2126, 0.7152, 0.0722][nth], 0);
        const behind = (node) => {
            for (let at = node; at; at = at.parentElement) {
                const colour = parts(getComputedStyle(at).backgroundColor);
                if (colour.length === 3 || colour[3] === 1) return colour;
            }
            return [255, 255, 255];
        };
        const found = [];
        const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            const node = texts.currentNode.parentElement;
            if (!texts.currentNode.data.trim() || !node.checkVisibility() || !node.getClientRects().length) continue;
            if (node.closest("script, style")) continue;
            const [one, other] = [light(parts(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
            found.push([(one + 0.05) / (other + 0.05), texts.currentNode.data.slice(0, 40)]);
        }
        return found.sort((a, b) => a[0] - b[0]);
        }"""
    )


def net(seed=0):
    """Return the arrays of a net with a convolution, nested layers, and kernels and biases to filter by."""
    made = np.random.default_rng(seed)
    shapes = {
        "stem.conv.weight": (8, 3, 5, 5),
        "stem.conv.bias": (8,),
        "body.0.fc.weight": (24, 40),
        "body.0.fc.bias": (24,),
        "body.1.fc.weight": (40, 24),
        "body.1.fc.bias": (40,),
        "head.weight": (10, 40),
    }
    return {name: (made.normal(size=shape) * (nth + 1)).astype("f4") for nth, (name, shape) in enumerate(shapes.items())}
