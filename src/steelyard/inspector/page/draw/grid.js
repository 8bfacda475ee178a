// @ts-check
// The numbers of a weight as a grid of any size; only the visible ones are elements of the page.

import { attribute, element } from "./element.js";
import { entryOf, placeText } from "../data/place.js";
import { whole } from "../data/text.js";
import { colourOf } from "./theme.js";
import { tilesOf } from "./tiles.js";

/**
 * @typedef {{
 *   index: Index,
 *   row: number,
 *   size: [rows: number, columns: number],
 *   scale: number,
 *   read: ReadTexts,
 * }} GridOptions
 */
/** @typedef {(window: MatrixWindow) => Promise<string[]>} ReadTexts */
/** @typedef {{ textAt(y: number, x: number): string | undefined }} Tiles */
/**
 * @typedef {ReturnType<typeof partsOf> & {
 *   index: Index,
 *   row: number,
 *   scale: number,
 *   rows: number,
 *   columns: number,
 *   column: number,
 *   lengths: number[],
 *   tiles: Tiles,
 *   top: number,
 *   left: number,
 *   tall: number,
 *   wide: number,
 *   cursor: Cell,
 *   chosen: boolean,
 *   waits: boolean,
 * }} GridView
 */

const [ROW, SIDE, HEAD] = [22, 64, 22];
/** Pixels of a number, of one with many digits, and of a complex one: an exponent must not be cut off. */
const [COLUMN, LONG, PAIR] = [118, 184, 330];
/** The part of the colours behind numbers: text is to be read on all of them. */
const PALE = 0.32;
/** Pixels of the longest scroller that browsers lay out exactly. */
const LONGEST = 8e6;
/**
 * The entry that a key moves to.
 * @type {Record<string, (y: number, x: number, grid: GridView) => Cell>}
 */
const STEPS = {
  ArrowDown: (y, x) => [y + 1, x],
  ArrowUp: (y, x) => [y - 1, x],
  ArrowRight: (y, x) => [y, x + 1],
  ArrowLeft: (y, x) => [y, x - 1],
  PageDown: (y, x, { tall }) => [y + tall, x],
  PageUp: (y, x, { tall }) => [y - tall, x],
  Home: (y) => [y, 0],
  End: (y, _, { columns }) => [y, columns - 1],
};

/**
 * The grid of a row; `read(window)` returns the texts of the numbers in a window, whose colours are strongest at `scale`.
 * @type {(options: GridOptions) => Grid}
 */
export function valuesGrid({ index, row, size: [rows, columns], scale, read }) {
  const column = widthOf(index.columns.dtype[row]);
  const lengths = [HEAD + rows * ROW, SIDE + columns * column].map((length) => Math.min(length, LONGEST));
  const parts = partsOf(`Numbers of ${index.shown[row]}`, rows, columns);
  // The visible part begins at `top` and `left`; `waits` means that the grid still has to scroll to the cursor.
  const sight = { top: 0, left: 0, tall: 0, wide: 0, cursor: /** @type {Cell} */ ([0, 0]), chosen: false, waits: false };
  const tiles = tilesOf([rows, columns], read, {
    onRead() {
      if (grid.holder.isConnected) draw(grid);
      describeCursor(grid);
    },
    onError: (message) => (grid.readout.textContent = message),
  });
  /** @type {GridView} */
  const grid = { index, row, scale, rows, columns, column, lengths, tiles, ...parts, ...sight };
  [grid.sizer.style.height, grid.sizer.style.width] = lengths.map((length) => `${length}px`);
  grid.holder.style.setProperty("--column", `${column}px`);
  listen(grid);
  return {
    element: element("div", { class: "numbers" }, grid.holder, grid.readout),
    /** Go to an entry, also before the grid is in the page. */
    go(at) {
      grid.cursor = [Math.floor(at / columns), at % columns];
      grid.waits = true;
      if (grid.holder.isConnected) measure(grid);
    },
  };
}

/**
 * @param {string} label
 * @param {number} rows
 * @param {number} columns
 */
function partsOf(label, rows, columns) {
  const view = element("div", { class: "view", role: "none" });
  const sizer = element("div", { class: "sizer", role: "none" }, view);
  const holder = element(
    "div",
    {
      class: "values",
      role: "grid",
      tabindex: "0",
      "aria-label": label,
      "aria-rowcount": rows + 1,
      "aria-colcount": columns + 1,
    },
    sizer,
  );
  return { view, sizer, holder, readout: element("p", { class: "readout", "aria-live": "polite" }) };
}

/** @type {(grid: GridView) => void} */
function listen(grid) {
  const { holder } = grid;
  holder.addEventListener("keydown", (event) => onKey(grid, event));
  holder.addEventListener("click", (event) => {
    const { y, x } = /** @type {HTMLElement} */ (event.target).dataset;
    if (y !== undefined) pointAt(grid, Number(y), Number(x));
  });
  holder.addEventListener("scroll", () => {
    const [top, left] = scrolledTo(grid);
    if (top !== grid.top || left !== grid.left) scroll(grid);
  });
  new ResizeObserver(() => measure(grid)).observe(holder);
}

/** @type {(grid: GridView) => void} */
function measure(grid) {
  const { holder, view, rows, columns, column } = grid;
  grid.tall = Math.min(rows, Math.max(1, Math.floor((holder.clientHeight - HEAD) / ROW)));
  grid.wide = Math.min(columns, Math.max(1, Math.floor((holder.clientWidth - SIDE) / column)));
  [view.style.height, view.style.width] = [`${holder.clientHeight}px`, `${holder.clientWidth}px`];
  scroll(grid);
  if (grid.waits && holder.clientHeight) pointAt(grid, ...grid.cursor);
}

/** @type {(grid: GridView) => void} */
function scroll(grid) {
  [grid.top, grid.left] = scrolledTo(grid);
  draw(grid);
}

/** @type {(grid: GridView, y: number, x: number) => void} */
function pointAt(grid, y, x) {
  const { top, left, tall, wide } = grid;
  Object.assign(grid, { cursor: [y, x], chosen: true, waits: false });
  [grid.top, grid.left] = [inSight(y, top, tall), inSight(x, left, wide)];
  if (grid.top !== top) grid.holder.scrollTop = pixels(grid.top, roomOf(grid)[0], grid.rows - tall);
  if (grid.left !== left) grid.holder.scrollLeft = pixels(grid.left, roomOf(grid)[1], grid.columns - wide);
  draw(grid);
  describeCursor(grid);
}

/** @type {(grid: GridView, event: KeyboardEvent) => void} */
function onKey(grid, event) {
  if (!(event.key in STEPS) || event.altKey || event.metaKey) return;
  const [y, x] = grid.chosen ? STEPS[event.key](...grid.cursor, grid) : grid.cursor;
  pointAt(grid, Math.max(0, Math.min(grid.rows - 1, y)), Math.max(0, Math.min(grid.columns - 1, x)));
  event.preventDefault();
}

/** @type {(grid: GridView) => void} */
function draw(grid) {
  const lines = [line(grid, -1)];
  for (let y = grid.top; y < grid.top + grid.tall; y += 1) lines.push(line(grid, y));
  grid.view.replaceChildren(...lines);
  attribute(grid.holder, "aria-activedescendant", grid.chosen ? "value" : null);
}

/** @type {(grid: GridView, y: number) => HTMLElement} */
function line(grid, y) {
  const [role, first] = y < 0 ? ["columnheader", "row"] : ["rowheader", whole(y)];
  /** @type {HTMLElement[]} */
  const cells = [element("div", { class: "side", role }, first)];
  for (let x = grid.left; x < grid.left + grid.wide; x += 1) {
    if (y < 0) cells.push(element("div", { class: "top", role: "columnheader", "aria-colindex": x + 2 }, whole(x)));
    else cells.push(cell(grid, y, x));
  }
  return element("div", { class: "line", role: "row", "aria-rowindex": y + 2 }, ...cells);
}

/** @type {(grid: GridView, y: number, x: number) => HTMLElement} */
function cell({ tiles, scale, chosen, cursor }, y, x) {
  const text = tiles.textAt(y, x);
  const here = chosen && cursor[0] === y && cursor[1] === x;
  const made = element(
    "div",
    {
      class: here ? "value here" : "value",
      id: here ? "value" : null,
      role: "gridcell",
      "aria-colindex": x + 2,
      "data-y": y,
      "data-x": x,
      title: text,
    },
    text ?? "…",
  );
  const share = Number(text) / scale;
  if (share) made.style.backgroundColor = colourOf(Math.max(-1, Math.min(1, share)) * PALE);
  else if (text && Number.isNaN(share)) made.classList.add("lost");
  return made;
}

/** @type {(grid: GridView) => void} */
function describeCursor({ index, row, columns, tiles, cursor, chosen, readout }) {
  if (!chosen) return;
  const at = cursor[0] * columns + cursor[1];
  const entry = entryOf(index, row, at);
  const counted = entry === null ? "" : `  ·  entry ${entry} of the vector`;
  readout.textContent = `${placeText(index, row, at)} = ${tiles.textAt(...cursor) ?? "…"}${counted}`;
}

/** @type {(dtype: string) => number} */
function widthOf(dtype) {
  return dtype.startsWith("complex") ? PAIR : /64$/.test(dtype) ? LONG : COLUMN;
}

/**
 * The distances that a grid can be scrolled.
 * @type {(grid: GridView) => [down: number, right: number]}
 */
function roomOf({ lengths, holder }) {
  return [lengths[0] - holder.clientHeight, lengths[1] - holder.clientWidth];
}

/**
 * The first visible row and column, from the position of the scroller.
 * @type {(grid: GridView) => Cell}
 */
function scrolledTo(grid) {
  const [down, right] = roomOf(grid);
  const { holder, rows, columns, tall, wide } = grid;
  return [placed(holder.scrollTop, down, rows - tall), placed(holder.scrollLeft, right, columns - wide)];
}

/**
 * The first of `count` visible places, moved as little as makes another place visible.
 * @type {(at: number, first: number, count: number) => number}
 */
function inSight(at, first, count) {
  return at < first ? at : at >= first + count ? at - count + 1 : first;
}

/** @type {(scroll: number, room: number, most: number) => number} */
function placed(scroll, room, most) {
  return room > 0 ? Math.max(0, Math.min(most, Math.round((scroll / room) * most))) : 0;
}

/** @type {(place: number, room: number, most: number) => number} */
function pixels(place, room, most) {
  return most > 0 ? Math.round((place / most) * room) : 0;
}
