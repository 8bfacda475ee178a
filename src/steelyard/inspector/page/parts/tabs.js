// @ts-check
// Tabs: one of several panels is shown; arrow keys move from tab to tab.

import { attribute, element, replace } from "../draw/element.js";

/** @typedef {{ element: HTMLElement, key(): string, show(key: string): void }} Tabs */

/**
 * Tabs, the first or the `chosen` one open; `onChoose(key)` is called when the user chooses another. `show(key)` opens one.
 * @type {(parts: Tab[], chosen: string, onChoose: (key: string) => void) => Tabs}
 */
export function tabs(parts, chosen, onChoose) {
  const panel = element("div", { class: "tab-panel", role: "tabpanel", id: "panel", tabindex: "-1" });
  /** @type {Map<string, Node>} */
  const made = new Map();
  const tools = element("div", { class: "tab-tools" });
  const heads = parts.map((part, nth) => headOf(part, () => pick(nth)));
  const list = element("div", { class: "tabs", role: "tablist", "aria-label": "Views", on: { keydown: onKey } }, ...heads);

  /** @type {(nth: number) => void} */
  function pick(nth) {
    choose(nth);
    onChoose(parts[nth].key);
  }

  /** @type {(nth: number) => void} */
  function choose(nth) {
    const { key, make } = parts[nth];
    open = nth;
    heads.forEach((head, each) => {
      attribute(head, "aria-selected", each === nth);
      attribute(head, "tabindex", each === nth ? 0 : -1);
    });
    const shown = made.get(key) ?? make();
    made.set(key, shown);
    panel.replaceChildren(shown);
    replace(tools, parts[nth].tools);
    attribute(panel, "aria-labelledby", `tab-${key}`);
  }

  /** @type {(event: KeyboardEvent) => void} */
  function onKey(event) {
    const at = heads.findIndex((head) => head === document.activeElement);
    /** @type {Record<string, number>} */
    const places = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: heads.length - 1 };
    if (!(event.key in places)) return;
    const next = places[event.key];
    const nth = (next + heads.length) % heads.length;
    pick(nth);
    heads[nth].focus();
    event.preventDefault();
  }

  let open = parts.findIndex(({ key }) => key === chosen);
  choose(Math.max(0, open));
  return {
    element: element("div", { class: "tabbed" }, element("div", { class: "tab-line" }, list, tools), panel),
    key: () => parts[open].key,
    show(key) {
      const nth = parts.findIndex((part) => part.key === key);
      if (nth >= 0) choose(nth);
    },
  };
}

/** @type {(tab: Tab, onClick: () => void) => HTMLElement} */
function headOf({ key, title }, onClick) {
  const attributes = { type: "button", role: "tab", id: `tab-${key}`, "aria-controls": "panel", on: { click: onClick } };
  return element("button", attributes, title);
}
