// The layers as a tree that opens, drawn as a list of lines of which those in sight are in the page.

import { attribute, element, nameElement, writeName } from "./element.js";
import { lastPart, layersOf, linesOf } from "./layers.js";
import { rounded, shownName } from "./text.js";
import { moved, virtual } from "./virtual.js";

const ROW = 26;

/** The tree of an index. `onLayer(layer)` is called for a layer that is chosen, `onOpen(row)` for a weight. */
export function tree(index, { onLayer, onOpen }) {
  const root = layersOf(index);
  let lines = linesOf(root);
  let cursor = 0;
  let chosen = root;
  let open = -1;
  const body = element("div", { class: "rows", role: "none" });
  const holder = element(
    "div",
    { class: "tree", role: "tree", tabindex: "0", "aria-label": "Layers", on: { keydown: onKey, click: onClick } },
    body,
  );
  const list = virtual(holder, body, ROW, blank, fill);
  list.show(lines.length);

  function fill(node, nth) {
    const { layer, row, level, nth: place, among } = lines[nth];
    node.id = `line-${nth}`;
    node.dataset.nth = nth;
    attribute(node, "aria-level", level + 1);
    attribute(node, "aria-posinset", place);
    attribute(node, "aria-setsize", among);
    attribute(node, "aria-expanded", layer ? layer.open : null);
    attribute(node, "aria-selected", layer ? layer === chosen : row === open);
    node.classList.toggle("cursor", nth === cursor);
    node.classList.toggle("leaf", !layer);
    node.style.setProperty("--level", level);
    writeName(node.children[1], layer ? shownName(layer.label) : lastPart(index, row));
    node.children[2].textContent = rounded(layer ? layer.size : index.columns.size[row]);
  }

  function toggle(layer, to = !layer.open) {
    if (layer.open === to) return;
    layer.open = to;
    lines = linesOf(root);
    list.show(lines.length);
  }

  function pointAt(nth) {
    cursor = nth;
    list.reveal(nth);
    list.draw(true);
    attribute(holder, "aria-activedescendant", `line-${nth}`);
  }

  function choose(line) {
    if (!line.layer) return onOpen(line.row);
    chosen = line.layer;
    list.draw(true);
    return onLayer(line.layer === root ? null : line.layer);
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const line = lines[cursor];
    const next = moved(event.key, cursor, lines.length, list.perPage());
    if (next !== null) pointAt(next);
    else if (event.key === "ArrowRight" && line.layer && !line.layer.open) toggle(line.layer, true);
    else if (event.key === "ArrowRight" && line.layer) pointAt(Math.min(cursor + 1, lines.length - 1));
    else if (event.key === "ArrowLeft" && line.layer?.open) toggle(line.layer, false);
    else if (event.key === "ArrowLeft")
      pointAt(
        Math.max(
          0,
          lines.findIndex(({ layer }) => layer && layer === (line.parent ?? line.layer.parent)),
        ),
      );
    else if (event.key === "Enter" || event.key === " ") choose(line);
    else return;
    event.preventDefault();
  }

  function onClick(event) {
    const node = event.target.closest(".line");
    if (!node) return;
    pointAt(Number(node.dataset.nth));
    const line = lines[cursor];
    if (event.target.closest(".twist") && line.layer) return toggle(line.layer);
    if (line.layer) toggle(line.layer, true);
    choose(line);
  }

  return {
    element: holder,
    root,
    reset() {
      chosen = root;
      list.draw(true);
    },
    open(row) {
      open = row;
      list.draw(true);
    },
  };
}

function blank() {
  return element(
    "div",
    { class: "line", role: "treeitem" },
    element("span", { class: "twist", "aria-hidden": "true" }),
    nameElement(),
    element("span", { class: "amount" }),
  );
}
