// The layers as a tree that opens, drawn as a list of lines of which those in sight are in the page.

import { attribute, element, nameElement, writeName } from "../draw/element.js";
import { lastPart, layersOf, linesOf } from "../data/layers.js";
import { rounded, shownName } from "../data/text.js";
import { moved, virtual } from "./virtual.js";

const ROW = 26;

/** The tree of an index. `onLayer(layer)` is called for a layer that is chosen, `onOpen(row)` for a weight. */
export function tree(index, { onLayer, onOpen }) {
  const root = layersOf(index);
  const body = element("div", { class: "rows", role: "none" });
  const holder = element("div", { class: "tree", role: "tree", tabindex: "0", "aria-label": "Layers" }, body);
  const view = { index, root, holder, lines: linesOf(root), cursor: 0, chosen: root, open: -1, onLayer, onOpen };
  view.list = virtual(holder, body, ROW, blank, (node, nth) => fill(view, node, nth));
  view.list.show(view.lines.length);
  holder.addEventListener("keydown", (event) => onKey(view, event));
  holder.addEventListener("click", (event) => onClick(view, event));
  return {
    element: holder,
    root,
    reset() {
      view.chosen = root;
      view.list.draw(true);
    },
    open(row) {
      view.open = row;
      view.list.draw(true);
    },
  };
}

function fill({ index, lines, cursor, chosen, open }, node, nth) {
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

function toggle(view, layer, to = !layer.open) {
  if (layer.open === to) return;
  layer.open = to;
  view.lines = linesOf(view.root);
  view.list.show(view.lines.length);
}

function pointAt(view, nth) {
  view.cursor = nth;
  view.list.reveal(nth);
  view.list.draw(true);
  attribute(view.holder, "aria-activedescendant", `line-${nth}`);
}

function choose(view, { layer, row }) {
  if (!layer) return view.onOpen(row);
  view.chosen = layer;
  view.list.draw(true);
  return view.onLayer(layer === view.root ? null : layer);
}

function onKey(view, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { lines, cursor, list } = view;
  const next = moved(event.key, cursor, lines.length, list.perPage());
  if (next !== null) pointAt(view, next);
  else if (event.key === "ArrowRight" && lines[cursor].layer) inwards(view, lines[cursor].layer);
  else if (event.key === "ArrowLeft") outwards(view, lines[cursor]);
  else if (event.key === "Enter" || event.key === " ") choose(view, lines[cursor]);
  else return;
  event.preventDefault();
}

// Open a layer, or go on to the first line in it.
function inwards(view, layer) {
  if (layer.open) pointAt(view, Math.min(view.cursor + 1, view.lines.length - 1));
  else toggle(view, layer, true);
}

// Close a layer, or go back to the one that a line stands in.
function outwards(view, line) {
  if (line.layer?.open) return toggle(view, line.layer, false);
  const parent = line.parent ?? line.layer.parent;
  const nth = view.lines.findIndex(({ layer }) => layer && layer === parent);
  return pointAt(view, Math.max(0, nth));
}

function onClick(view, event) {
  const node = event.target.closest(".line");
  if (!node) return;
  pointAt(view, Number(node.dataset.nth));
  const line = view.lines[view.cursor];
  if (event.target.closest(".twist") && line.layer) return toggle(view, line.layer);
  if (line.layer) toggle(view, line.layer, true);
  choose(view, line);
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
