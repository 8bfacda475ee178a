// @ts-check
// Keys that work on the whole page, and the list of them.

import { button, element } from "../draw/element.js";

/**
 * @typedef {{
 *   header: import("./header.js").Header,
 *   overview: import("./overview.js").Overview,
 *   tree: import("./tree.js").Tree,
 *   controls: import("./controls.js").Controls,
 *   table: import("./table.js").Table,
 *   detail: import("./detail.js").DetailPanel,
 *   close(): void,
 *   step(by: number): void,
 *   widen(on?: boolean): void,
 *   isWide(): boolean,
 *   opened(): number,
 * }} ShortcutParts
 */

const KEYS = [
  ["/", "filter the table"],
  ["g", "go to an index or an entry of the vector"],
  ["o", "go to the overview: arrows move, Enter opens"],
  ["v", "the next view of the net, where there are several"],
  ["t", "go to the layers: arrows open and close, Enter shows a layer"],
  ["w", "go to the table: arrows, Page, Home and End move, Enter opens"],
  ["d", "go to the open weight"],
  ["f", "expand the open weight to the whole page, or shrink it again"],
  ["[ and ]", "open the row above or below"],
  ["arrows", "in a heat map, filters or numbers: move from cell to cell"],
  ["+ − 0", "in a heat map of a live page: zoom in, out, to the whole"],
  ["Esc", "leave a text box, shrink the open weight, or close it"],
  ["?", "show this list"],
];

/**
 * Listen for the keys of the page.
 * @type {(parts: ShortcutParts) => void}
 */
export function shortcuts(parts) {
  const help = dialog();
  document.body.append(help);
  parts.header.element.append(button("?", () => help.showModal(), { class: "help", title: "Keys (?)", "aria-label": "Keys" }));
  /** @type {(act: () => void) => () => void} */
  const beside = (act) => () => {
    parts.widen(false);
    act();
  };
  /** @type {Record<string, () => void>} */
  const does = {
    "/": beside(() => parts.controls.focus()),
    g: beside(() => parts.header.focus()),
    o: beside(() => parts.overview.focus()),
    v: beside(() => parts.overview.next()),
    t: beside(() => parts.tree.element.focus()),
    w: beside(() => parts.table.element.focus()),
    d: () => parts.opened() >= 0 && parts.detail.element.focus(),
    f: () => parts.opened() >= 0 && parts.widen(),
    "[": () => parts.opened() >= 0 && parts.step(-1),
    "]": () => parts.opened() >= 0 && parts.step(1),
    "?": () => help.showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const typing = /** @type {Element} */ (event.target).matches("input, select, textarea");
    if (event.key === "Escape") leave(event, typing, parts);
    else if (!typing && event.key in does) {
      does[event.key]();
      event.preventDefault();
    }
  });
  parts.controls.input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "Enter") parts.table.element.focus();
  });
}

/** @type {(event: KeyboardEvent, typing: boolean, parts: ShortcutParts) => void} */
function leave(event, typing, parts) {
  if (typing) {
    if (event.target === parts.controls.input && parts.controls.input.value) parts.controls.clear();
    parts.table.element.focus();
  } else if (parts.isWide()) parts.widen(false);
  else if (parts.opened() >= 0) parts.close();
}

/** @type {() => HTMLDialogElement} */
function dialog() {
  const made = element("dialog", { class: "keys", "aria-label": "Keys" });
  const lines = KEYS.flatMap(([key, what]) => [
    element("dt", {}, ...key.split(" ").map((word) => (word === "and" ? " and " : element("kbd", {}, word)))),
    element("dd", {}, what),
  ]);
  made.append(
    element("h2", {}, "Keys"),
    element("dl", {}, ...lines),
    button("Close", () => made.close()),
  );
  return made;
}
