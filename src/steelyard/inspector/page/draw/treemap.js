// @ts-check
// The parameters of a net as areas: layers inside of the parts that they are in.

import { keepDrawn } from "./canvas.js";
import { element, replace } from "./element.js";
import { colourOfRole } from "./roles.js";
import { shade } from "./shade.js";
import { squarified } from "./squares.js";

/** @typedef {{ row: SizeRow, area: number, parts: Part[] }} Part */
/** @typedef {{ onChoose(row: SizeRow): void, onPoint(row: SizeRow | null): void, labelOf(row: SizeRow): string }} TreemapListeners */

/** Pixels of the heading of a part with layers inside, and of the smallest part that has one. */
const [HEAD, LEAST] = [17, 44];
/** Areas with a side of fewer pixels are not drawn. */
const SMALLEST = 3;

/**
 * The tree of rows that follow one another by their depths.
 * @type {(rows: SizeRow[]) => Part[]}
 */
function partsOf(rows) {
  /** @type {Part[]} */
  const tops = [];
  /** @type {Part[]} */
  const path = [];
  for (const row of rows) {
    const part = { row, area: row.parameters + row.other + row.buffers, parts: [] };
    path.length = Math.min(row.depth, path.length);
    (path[path.length - 1]?.parts ?? tops).push(part);
    path.push(part);
  }
  return tops;
}

/**
 * A treemap; the functions of `on` are called for its buttons.
 * @type {(rows: SizeRow[], on: TreemapListeners, onDrawn: (holder: HTMLElement) => void) => HTMLElement}
 */
export function treemap(rows, on, onDrawn) {
  const tops = partsOf(rows);
  const holder = element("div", { class: "treemap", role: "group", "aria-label": "Layers by their sizes" });
  const named = new Map(rows.map((row, nth) => [String(nth), row]));
  const numbers = new Map(rows.map((row, nth) => [row, nth]));
  /** @type {(event: Event) => SizeRow | null} */
  const rowAt = ({ target }) => named.get(/** @type {HTMLElement} */ (target).closest("button")?.dataset.nth ?? "") ?? null;
  holder.addEventListener("pointerover", (event) => on.onPoint(rowAt(event)));
  holder.addEventListener("pointerleave", () => on.onPoint(null));
  holder.addEventListener("focusin", (event) => on.onPoint(rowAt(event)));
  holder.addEventListener("click", (event) => {
    const row = rowAt(event);
    if (row) on.onChoose(row);
  });
  keepDrawn(holder, (width) => {
    const boxes = placed(tops, { left: 0, top: 0, width, height: holder.clientHeight });
    replace(holder, ...boxes.map(([part, box]) => tile(part, box, numbers.get(part.row) ?? -1, on.labelOf(part.row))));
    onDrawn(holder);
  });
  return holder;
}

/** @type {(parts: Part[], box: import("./squares.js").Box) => [Part, import("./squares.js").Box][]} */
function placed(parts, box) {
  const listed = parts.filter(({ area }) => area > 0).sort((one, other) => other.area - one.area);
  const boxes = squarified(listed.map(({ area }) => area), box);
  return listed.flatMap((part, nth) => {
    const own = boxes[nth];
    if (Math.min(own.width, own.height) < SMALLEST) return [];
    const { left, top, width, height } = own;
    const head = Math.min(width, height) > LEAST ? HEAD : 1;
    const inner = { left: left + 1, top: top + head, width: Math.max(0, width - 2), height: Math.max(0, height - head - 1) };
    /** @type {[Part, import("./squares.js").Box][]} */
    const found = [[part, own]];
    return part.parts.length ? [...found, ...placed(part.parts, inner)] : found;
  });
}

/** @type {(part: Part, box: import("./squares.js").Box, nth: number, label: string) => HTMLElement} */
function tile({ row, parts }, { left, top, width, height }, nth, label) {
  const text = `${row.label}${row.times > 1 && parts.length ? `  \u00d7${row.times}` : ""}`;
  const fits = width > 34 && height > 15;
  const made = element("button", { type: "button", class: parts.length ? "tile whole" : "tile", "data-nth": nth, "aria-label": label, title: label }, fits ? element("span", {}, text) : null);
  Object.assign(made.style, { left: `${left}px`, top: `${top}px`, width: `${Math.max(width - 1, 2)}px`, height: `${Math.max(height - 1, 2)}px` });
  if (!parts.length) shade(made, colourOfRole(row.role));
  return made;
}
