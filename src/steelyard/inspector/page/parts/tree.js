// @ts-check
// The layers as a tree; only its visible lines are elements of the page.

import { attribute, element, nameElement, writeName } from "../draw/element.js";
import { lastPart, layersOf, linesOf } from "../data/layers.js";
import { rounded, shownName } from "../data/text.js";
import { moved, virtual } from "./virtual.js";

/** @typedef {{ onLayer(layer: Layer | null): void, onOpen(row: number): void }} TreeListeners */
/** @typedef {{ element: HTMLElement, root: Layer, reset(): void, open(row: number): void }} Tree */
/**
 * @typedef {TreeListeners & {
 *   index: Index,
 *   root: Layer,
 *   holder: HTMLElement,
 *   lines: TreeLine[],
 *   cursor: number,
 *   chosen: Layer,
 *   open: number,
 *   list: VirtualList,
 * }} TreeView
 */

const ROW = 26;
/** Letters of a name that surely fits, and those that are kept of the end of a longer one. */
const [FITS, TAIL] = [13, 7];
/** @type {WeakMap<Layer, number>} */
const SHARED = new WeakMap();
/** @type {WeakMap<Layer, Map<string, number>>} */
const BEGINNINGS = new WeakMap();

/**
 * The tree of an index; `onLayer(layer)` is called when a layer is chosen, `onOpen(row)` for a weight.
 * @type {(index: Index, on: TreeListeners) => Tree}
 */
export function tree(index, { onLayer, onOpen }) {
  const root = layersOf(index);
  const body = element("div", { class: "rows", role: "none" });
  const holder = element("div", { class: "tree", role: "tree", tabindex: "0", "aria-label": "Layers" }, body);
  const list = virtual(holder, body, ROW, blank, (node, nth) => fill(view, node, nth));
  /** @type {TreeView} */
  const view = { index, root, holder, lines: linesOf(root), cursor: 0, chosen: root, open: -1, onLayer, onOpen, list };
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

/** @type {(view: TreeView, node: HTMLElement, nth: number) => void} */
function fill({ index, lines, cursor, chosen, open }, node, nth) {
  const { layer, row, level, nth: place, among } = lines[nth];
  node.id = `line-${nth}`;
  node.dataset.nth = String(nth);
  attribute(node, "aria-level", level + 1);
  attribute(node, "aria-posinset", place);
  attribute(node, "aria-setsize", among);
  attribute(node, "aria-expanded", layer ? layer.open : null);
  attribute(node, "aria-selected", layer ? layer === chosen : row === open);
  node.classList.toggle("cursor", nth === cursor);
  node.classList.toggle("leaf", !layer);
  node.style.setProperty("--level", String(level));
  const text = layer ? shownName(layer.label) : lastPart(index, row);
  writeName(/** @type {HTMLElement} */ (node.children[1]), text, layer?.parent ? sharedOf(layer.parent) : 0, text.length > FITS && isAlike(layer, text) ? TAIL : 0);
  node.children[2].textContent = rounded(layer ? layer.size : index.columns.size[row]);
}

/**
 * How many letters the labels of a layer's parts have in common, in whole words.
 * @type {(layer: Layer) => number}
 */
function sharedOf(layer) {
  const known = SHARED.get(layer);
  if (known !== undefined) return known;
  const labels = [...layer.layers.values()].map(({ label }) => shownName(label));
  const [first = "", ...others] = labels;
  const ends = others.length ? [...first.matchAll(/[._/-]/g)].map((found) => (found.index ?? 0) + 1) : [];
  const shared = Math.max(0, ...ends.filter((end) => others.every((label) => label.startsWith(first.slice(0, end)))));
  SHARED.set(layer, shared);
  return shared;
}

/**
 * Whether another part of the same layer begins alike, so that the ends of their names tell them apart; so may those of weights.
 * @type {(layer: Layer | null, text: string) => boolean}
 */
function isAlike(layer, text) {
  if (!layer?.parent) return !layer;
  const known = BEGINNINGS.get(layer.parent) ?? new Map();
  if (!known.size) {
    for (const { label } of layer.parent.layers.values()) {
      const begins = shownName(label).slice(0, TAIL);
      known.set(begins, (known.get(begins) ?? 0) + 1);
    }
    BEGINNINGS.set(layer.parent, known);
  }
  return known.get(text.slice(0, TAIL)) > 1;
}

/** @type {(view: TreeView, layer: Layer, to?: boolean) => void} */
function toggle(view, layer, to = !layer.open) {
  if (layer.open === to) return;
  layer.open = to;
  view.lines = linesOf(view.root);
  view.list.show(view.lines.length);
}

/** @type {(view: TreeView, nth: number) => void} */
function pointAt(view, nth) {
  view.cursor = nth;
  view.list.reveal(nth);
  view.list.draw(true);
  attribute(view.holder, "aria-activedescendant", `line-${nth}`);
}

/** @type {(view: TreeView, line: TreeLine) => void} */
function choose(view, { layer, row }) {
  if (!layer) {
    view.onOpen(row);
    return;
  }
  view.chosen = layer;
  view.list.draw(true);
  view.onLayer(layer === view.root ? null : layer);
}

/** @type {(view: TreeView, event: KeyboardEvent) => void} */
function onKey(view, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { lines, cursor, list } = view;
  const { layer } = lines[cursor];
  const next = moved(event.key, cursor, lines.length, list.perPage());
  if (next !== null) pointAt(view, next);
  else if (event.key === "ArrowRight" && layer) inwards(view, layer);
  else if (event.key === "ArrowLeft") outwards(view, lines[cursor]);
  else if (event.key === "Enter" || event.key === " ") choose(view, lines[cursor]);
  else return;
  event.preventDefault();
}

/**
 * Open a layer, or move to its first line if it is open.
 * @type {(view: TreeView, layer: Layer) => void}
 */
function inwards(view, layer) {
  if (layer.open) pointAt(view, Math.min(view.cursor + 1, view.lines.length - 1));
  else toggle(view, layer, true);
}

/**
 * Close a layer, or move to the parent of a line.
 * @type {(view: TreeView, line: TreeLine) => void}
 */
function outwards(view, line) {
  if (line.layer?.open) toggle(view, line.layer, false);
  else pointAt(view, Math.max(0, view.lines.findIndex(({ layer }) => layer && layer === line.parent)));
}

/** @type {(view: TreeView, event: MouseEvent) => void} */
function onClick(view, event) {
  const target = /** @type {HTMLElement} */ (event.target);
  const node = /** @type {HTMLElement | null} */ (target.closest(".line"));
  if (!node) return;
  pointAt(view, Number(node.dataset.nth));
  const line = view.lines[view.cursor];
  if (target.closest(".twist") && line.layer) {
    toggle(view, line.layer);
    return;
  }
  if (line.layer) toggle(view, line.layer, true);
  choose(view, line);
}

/** @type {() => HTMLElement} */
function blank() {
  return element(
    "div",
    { class: "line", role: "treeitem" },
    element("span", { class: "twist", "aria-hidden": "true" }),
    nameElement(),
    element("span", { class: "amount" }),
  );
}
