// @ts-check
// Tabs: one of several panels is shown; arrow keys move from tab to tab.

import { attribute, element } from "../draw/element.js";

/**
 * Tabs, the first or the `chosen` one open; `onChoose(key)` is called when another is chosen.
 * @type {(parts: Tab[], chosen: string, onChoose: (key: string) => void) => { element: HTMLElement }}
 */
export function tabs(parts, chosen, onChoose) {
  const panel = element("div", { class: "tab-panel", role: "tabpanel", id: "panel", tabindex: "-1" });
  /** @type {Map<string, Node>} */
  const made = new Map();
  const heads = parts.map((part, nth) => headOf(part, () => choose(nth)));
  const list = element("div", { class: "tabs", role: "tablist", "aria-label": "Views", on: { keydown: onKey } }, ...heads);

  /** @type {(nth: number) => void} */
  function choose(nth) {
    const { key, make } = parts[nth];
    heads.forEach((head, each) => {
      attribute(head, "aria-selected", each === nth);
      attribute(head, "tabindex", each === nth ? 0 : -1);
    });
    const shown = made.get(key) ?? make();
    made.set(key, shown);
    panel.replaceChildren(shown);
    attribute(panel, "aria-labelledby", `tab-${key}`);
    onChoose(key);
  }

  /** @type {(event: KeyboardEvent) => void} */
  function onKey(event) {
    const at = heads.findIndex((head) => head === document.activeElement);
    /** @type {Record<string, number>} */
    const places = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: heads.length - 1 };
    if (!(event.key in places)) return;
    const next = places[event.key];
    const nth = (next + heads.length) % heads.length;
    choose(nth);
    heads[nth].focus();
    event.preventDefault();
  }

  const asked = parts.findIndex(({ key }) => key === chosen);
  choose(Math.max(0, asked));
  return { element: element("div", { class: "tabbed" }, list, panel) };
}

/** @type {(tab: Tab, onClick: () => void) => HTMLElement} */
function headOf({ key, title }, onClick) {
  const attributes = { type: "button", role: "tab", id: `tab-${key}`, "aria-controls": "panel", on: { click: onClick } };
  return element("button", attributes, title);
}
