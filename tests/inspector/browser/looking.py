"""What the tests of pages look at: rows, places of pictures, colours."""

DONE = ".detail .tabbed"


def names(page):
    """The names in the rows of the table, from the top."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".rows > .row")].sort((a, b) => a.dataset.nth - b.dataset.nth)
        .map((row) => row.querySelector(".name").textContent)"""
    )


def column(page, title):
    """The texts of a column, from the top."""
    return page.evaluate(
        """(title) => {
        const heads = [...document.querySelectorAll(".head .cell")].map((head) => head.textContent);
        const rows = [...document.querySelectorAll(".rows > .row")].sort((a, b) => a.dataset.nth - b.dataset.nth);
        return rows.map((row) => row.children[heads.indexOf(title)].textContent);
        }""",
        title,
    )


def row(page, name):
    """The row of a name."""
    return page.locator(".rows > .row").filter(has=page.locator(f'.name[title="{name}"]'))


def open_weight(page, name):
    """Open a weight by the table, and wait for what there is to see of it."""
    row(page, name).click()
    page.wait_for_selector(DONE)


def go_to(page, text):
    """Write into the index box."""
    page.fill("#place", text)
    page.press("#place", "Enter")


def tab(page, title):
    """Choose a tab."""
    page.get_by_role("tab", name=title, exact=True).click()


def pixels(page, canvas, points):
    """The red, green and blue of a canvas at points, which are shares of its width and height."""
    return page.locator(canvas).first.evaluate(
        """(canvas, points) => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
        copy.drawImage(canvas, 0, 0);
        const at = ([x, y]) => copy.getImageData(Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data;
        return points.map((point) => [...at(point)].slice(0, 3));
        }""",
        points,
    )


def eventually(page, holds):
    """Wait until something holds, a frame at a time."""
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
    """The contrast of each text that is seen with what lies behind it, the lowest first."""
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
