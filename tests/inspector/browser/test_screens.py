"""Screens of the page, compared with pictures of them: three widths, light and dark.

The pictures in `screens` have a dot for each square of 6 by 6: another version of a browser or of a font changes single letters, but
few squares by much. UPDATE_IMAGES=1 writes them again; look at each.
"""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from inspector.browser.looking import DONE, go_to
from PIL import Image
from playwright.sync_api import expect

import steelyard
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.core.weights import Weights

SCREENS = Path(__file__).parent / "screens"
SIZES = [(1440, 900), (1024, 700), (390, 844)]
SCHEMES = ["light", "dark"]
STEP = 6  # pixels of a square
FAR = 40  # of 255 shades: letters of another font move few squares so far, but a picture or a panel moves all of its squares
MOST = 0.03  # the share of squares that may be so far


def transformer(before=False):
    """Return the arrays of a small transformer; the newer one has NaN, and another matrix added to one of its own."""
    made = np.random.default_rng(0)
    arrays = {
        "wte.weight": made.normal(size=(600, 64)) * 0.1,
        "wpe.weight": np.sin(np.outer(np.arange(80), 1.2 ** -np.arange(64.0))),
    }
    for nth in range(6):
        for name, shape in {"attn": (64, 192), "proj": (64, 64), "mlp": (64, 256), "out": (256, 64)}.items():
            arrays[f"h.{nth}.{name}.weight"] = made.normal(size=shape) * 0.05 * (1 + nth)
            arrays[f"h.{nth}.{name}.bias"] = made.normal(size=shape[1]) * 0.1
        arrays[f"h.{nth}.norm.weight"] = 1 + made.normal(size=64) * 0.1
    if not before:
        arrays["h.4.mlp.weight"] += np.outer(made.normal(size=64), made.normal(size=256)) * 0.2
        arrays["h.2.proj.bias"][17] = np.nan
    return {name: array.astype("f4") for name, array in arrays.items()}


def convolutions():
    """Return a small net whose first convolution finds edges in colours."""
    across, down = np.meshgrid(np.linspace(-1, 1, 7), np.linspace(-1, 1, 7))
    waves = [np.cos(5 * (across * np.cos(0.4 * nth) + down * np.sin(0.4 * nth)) + nth) for nth in range(32)]
    colours = [np.array([1.0, 0.8, 0.5 if nth % 3 else -0.7]) for nth in range(32)]
    kernel = np.array([colour[:, None, None] * wave for colour, wave in zip(colours, waves, strict=True)], "f4")
    rest = {
        "norm.weight": np.linspace(0.5, 1.5, 32),
        "norm.bias": np.linspace(-1, 1, 32),
        "fc.weight": np.outer(waves[3], waves[5]),
    }
    axes = "out in kh kw"
    return Weights(
        [from_array("conv.weight", kernel, role=Role.KERNEL, axes=axes), *(from_array(*each) for each in rest.items())]
    )


def closed(open_report, **_):
    return open_report(transformer(before=True))


def opened(open_report, **_):
    page = open_report(transformer(before=True))
    go_to(page, "h.3.mlp.weight")
    return page


def filters(open_report, **_):
    page = open_report(convolutions())
    go_to(page, "conv.weight")
    return page


def pair(open_report, **_):
    page = open_report(transformer(), transformer(before=True))
    go_to(page, "h.4.mlp.weight")
    return page


def full(open_report, **_):
    page = pair(open_report)
    page.wait_for_selector(DONE)
    page.get_by_role("button", name="Full page").click()
    return page


def values(open_served, tmp_path, **_):
    steelyard.save({"w": transformer(before=True)["wpe.weight"], "bias": np.ones(5)}, tmp_path / "net.npz")
    page = open_served(tmp_path / "net.npz")
    page.wait_for_selector(DONE)
    go_to(page, "w[3, 2]")
    page.wait_for_selector(DONE)
    page.get_by_role("tab", name="Values").click()
    expect(page.locator(".value.here")).not_to_have_text("…")
    return page


def chosen(page, title):
    """Choose a view of the net, and wait for what it shows."""
    page.locator(".switcher").get_by_role("button", name=title, exact=True).click()
    expect(page.locator(".later > .none[role=status]")).to_have_count(0)
    return page


def blocks(open_report, **_):
    return chosen(open_report(transformer(), transformer(before=True)), "Blocks")


def sizes(open_report, **_):
    return chosen(open_report(transformer(before=True)), "Size")


def layers(open_report, **_):
    from torch import nn

    def block(side):
        return nn.Sequential(nn.Conv2d(side, side, 3, padding=1), nn.BatchNorm2d(side), nn.ReLU())

    parts = [nn.Conv2d(3, 16, 3), nn.ReLU(), *(block(16) for _ in range(4)), nn.Flatten(), nn.Linear(256, 10), nn.Softmax(1)]
    return chosen(open_report(nn.Sequential(*parts), spectra="none"), "Architecture")


def run(visit, tmp_path, **_):
    made, arrays = np.random.default_rng(0), transformer(before=True)
    with steelyard.record(tmp_path / "a", settings={"lr": 0.1, "optimizer": "Adam"}) as rec:
        for step in range(31):
            arrays = {name: each + made.normal(size=each.shape).astype("f4") * 0.01 for name, each in arrays.items()}
            rec(step, arrays, epoch=step / 10, metrics={"loss": 3 / (3 + step), "val_loss": 4 / (3 + step)})
    steelyard.history(tmp_path / "a").report(tmp_path / "run.html")
    page = visit((tmp_path / "run.html").as_uri())
    page.get_by_role("button", name="h.3.mlp.weight").click()
    page.locator(".run-head p").first.evaluate("(line) => { line.textContent = 'a run'; }")  # it has the path of the folder
    return page


SCENES = [closed, opened, filters, pair, full, values, blocks, sizes, layers, run]
WHOLE = [closed, blocks, sizes, layers, run]
"""The scenes without an open weight."""


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_page_looks_as_in_its_pictures(scene, open_report, open_served, visit, tmp_path):
    page = scene(open_report=open_report, open_served=open_served, visit=visit, tmp_path=tmp_path)
    if scene not in WHOLE:
        page.wait_for_selector(DONE)
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(600)  # tiny pictures are drawn after the page is ready
    found = {}
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for size in SIZES:
            page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
            page.evaluate("new Promise((drawn) => setTimeout(drawn, 120)).then(() => scrollTo(0, 0))")
            name = f"{scene.__name__}-{size[0]}-{scheme}.png"
            drawn = page.screenshot()
            if os.environ.get("UPDATE_IMAGES"):
                Image.fromarray(squares(drawn).round().astype(np.uint8)).quantize(128).save(SCREENS / name, optimize=True)
            found[name] = apart(drawn, name)
    assert max(found.values()) <= MOST, found


def apart(screenshot, name):
    """Return the share of squares that are far from those of a picture."""
    drawn, wanted = squares(screenshot), np.asarray(Image.open(SCREENS / name).convert("RGB")).astype(float)
    return float((np.abs(drawn - wanted).max(axis=2) > FAR).mean()) if drawn.shape == wanted.shape else 1.0


def squares(screenshot):
    """Return the mean colour of each square of a screenshot."""
    image = np.asarray(Image.open(io.BytesIO(screenshot)).convert("RGB"))
    height, width = (length // STEP * STEP for length in image.shape[:2])
    return image[:height, :width].reshape(height // STEP, STEP, width // STEP, STEP, 3).mean(axis=(1, 3))


@pytest.mark.parametrize(
    "rule",
    [
        ".heatmap { margin-top: 60px; }",
        ".overview { display: none; }",
        "#page.has-detail { grid-template-columns: 208px minmax(0, 1fr) 26%; }",
        ":root { --panel: #d8d2c4; }",
    ],
)
def test_another_look_is_noticed(open_report, rule):
    page = opened(open_report)
    page.wait_for_selector(DONE)
    page.set_viewport_size({"width": 1440, "height": 900})
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(600)
    assert apart(page.screenshot(), "opened-1440-light.png") <= MOST
    page.evaluate(
        "(rule) => { const sheet = new CSSStyleSheet(); sheet.replaceSync(rule); document.adoptedStyleSheets = [sheet]; }", rule
    )
    page.wait_for_timeout(200)
    assert apart(page.screenshot(), "opened-1440-light.png") > MOST


def test_every_picture_is_compared_and_small():
    wanted = {f"{scene.__name__}-{width}-{scheme}.png" for scene in SCENES for width, _ in SIZES for scheme in SCHEMES}
    assert {path.name for path in SCREENS.iterdir()} == wanted
    assert all(path.stat().st_size < 40_000 for path in SCREENS.iterdir())
