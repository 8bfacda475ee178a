"""axe-core in a page: all rules but that of contrast look at everything, and contrast at two texts of each look.

Contrast takes most of the time, and depends on nothing but the colours, the size and the ground of a text.
"""

from pathlib import Path

import axe_playwright_python

CORE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
SETUP = """
// The elements with text of their own, of which each look is there twice at most.
window.looks = (root) => {
    const grounds = new Map([[null, ""]]), seen = new Map();
    const ground = (each) => {
        if (!grounds.has(each)) {
            const { backgroundColor, backgroundImage, opacity, filter, mixBlendMode } = getComputedStyle(each);
            const own = [backgroundColor, backgroundImage, opacity, filter, mixBlendMode].join(" ");
            grounds.set(each, ground(each.parentElement) + (own === "rgba(0, 0, 0, 0) none 1 none normal" ? "" : `${own};`));
        }
        return grounds.get(each);
    };
    return [...root.querySelectorAll("*")].filter((each) => {
        if (![...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()) || !each.checkVisibility()) {
            return false;
        }
        const { color, fill, fontSize, fontWeight, textShadow, position } = getComputedStyle(each);
        const look = [color, fill, fontSize, fontWeight, textShadow, position, ground(each)].join(" ");
        seen.set(look, (seen.get(look) ?? 0) + 1);
        return seen.get(look) <= 2;
    });
};

window.faults = async (where, rules) => {
    const { violations } = await axe.run(where, rules);
    return violations.map((each) => [each.id, each.nodes.map(({ html }) => html.slice(0, 120))]);
};

window.faultsOfContrast = (selector) =>
    faults({ include: looks(document.querySelector(selector)) }, { runOnly: ["color-contrast"] });

window.allFaults = async (selector) => [
    ...await faults(selector, { rules: { "color-contrast": { enabled: false } } }),
    ...await faultsOfContrast(selector),
];
0;  // else Playwright calls the function
"""


def load(page):
    """Load axe-core into a page, which stays with it until it goes elsewhere."""
    page.evaluate(CORE.read_text())
    page.evaluate(SETUP)


def faults(page, selector="body", *, contrast_only=False):
    """Return the faults of a part of a page into which axe-core was loaded: rules, each with the starts of elements."""
    return page.evaluate(
        "([selector, contrast]) => (contrast ? faultsOfContrast : allFaults)(selector)", [selector, contrast_only]
    )
