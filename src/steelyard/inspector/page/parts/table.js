// @ts-check
// The table of weights, of any number of rows; only the visible ones are elements of the page.

import { columnsOf } from "./columns.js";
import { attribute, element } from "../draw/element.js";
import { sorted } from "../data/order.js";
import { axisLabels, blankRow, headOf, writeCells } from "./row.js";
import { counted, whole } from "../data/text.js";
import { onTheme } from "../draw/theme.js";
import { moved, virtual } from "./virtual.js";

/** @typedef {{ onOpen(row: number): void, onSight(): void }} TableListeners */
/**
 * @typedef {{
 *   element: HTMLElement,
 *   show(rows: number[]): void,
 *   open(row: number): void,
 *   next(step: number): number,
 *   again(): void,
 *   refresh(): void,
 *   inSight(): number[],
 *   order(): number[],
 *   print(on: boolean): string,
 *   summary(): string,
 * }} Table
 */
/**
 * @typedef {TableListeners & {
 *   index: Index,
 *   columns: Column[],
 *   wanted: number,
 *   rows: number[],
 *   order: number[],
 *   by: Sorting,
 *   cursor: number,
 *   open: number,
 *   width: number,
 *   heads: HTMLElement[],
 *   grid: HTMLElement,
 *   list: VirtualList,
 * }} TableView
 */

const ROW = 26;
const HEAD = 30;
const PRINTED = 500;
/** Pixels of a letter of a name, and beside the name in its cell. */
const [LETTER, MARGIN] = [7.25, 30];
/** The share of the table's width that names have at most, if other columns need it. */
const NAMES = 0.42;
/** @type {Sorting} */
const UNSORTED = { key: null, descending: false };

/**
 * The table of an index; `onOpen(row)` is called when a row is chosen, `onSight()` when others become visible.
 * @type {(index: Index, on: TableListeners) => Table}
 */
export function table(index, { onOpen, onSight }) {
  const view = built(index, onOpen, onSight);
  const { grid, list } = view;
  listen(view);
  return {
    element: grid,
    show(kept) {
      view.rows = kept;
      arrange(view, true);
    },
    open(row) {
      view.open = row;
      list.draw(true);
      const nth = view.order.indexOf(row);
      if (nth >= 0) pointAt(view, nth);
    },
    next: (step) => view.order[Math.max(0, Math.min(view.order.length - 1, view.order.indexOf(view.open) + step))],
    /** Sort again, with new statistics. */
    again() {
      if (view.by.key) arrange(view);
    },
    refresh() {
      labelAxis(view);
      list.draw(true);
    },
    inSight: () => list.inSight().map((nth) => view.order[nth]),
    order: () => view.order,
    /** Lay out the rows for paper, up to a limit, and return a summary of them. */
    print(on) {
      list.print(on ? Math.min(view.order.length, PRINTED) : 0);
      return summary(view) + (on && view.order.length > PRINTED ? `; the first ${PRINTED} are printed` : "");
    },
    summary: () => summary(view),
  };
}

/**
 * The state of a table: `rows` match the filter, `order` has them sorted, `cursor` is a place in it.
 * @type {(index: Index, onOpen: (row: number) => void, onSight: () => void) => TableView}
 */
function built(index, onOpen, onSight) {
  const columns = columnsOf(index);
  const by = index.two ? { key: "relative", descending: true } : UNSORTED;
  const heads = columns.map((column, nth) => headOf(column, nth, () => sortBy(view, column)));
  const body = element("div", { class: "rows", role: "rowgroup" });
  const head = element("div", { class: "row head", role: "row", "aria-rowindex": "1" }, ...heads);
  const none = index.count ? "No weight matches." : "There are no weights to show.";
  const grid = element(
    "div",
    { class: "table", role: "grid", tabindex: "0", "aria-label": "Weights", "aria-colcount": columns.length, "data-none": none },
    element("div", { class: "heads", role: "rowgroup" }, head),
    body,
  );
  const widths = columns.slice(1).map(({ width }) => `${width}px`);
  grid.style.setProperty("--columns", `minmax(var(--name), 1fr) ${widths.join(" ")}`);
  grid.style.setProperty("--least", `${columns.reduce((sum, { width }) => sum + width, 0)}px`);
  const list = virtual(
    grid,
    body,
    ROW,
    () => blankRow(columns),
    (node, nth) => fill(view, node, nth),
  );
  const wanted = index.shown.reduce((most, name) => Math.max(most, name.length), 0) * LETTER + MARGIN;
  /** @type {TableView} */
  const view = { index, columns, wanted, onOpen, onSight, rows: [], order: [], by, cursor: 0, open: -1, width: 0, heads, grid, list };
  return view;
}

/** @type {(view: TableView) => void} */
function listen(view) {
  const { grid, list } = view;
  onTheme(() => list.draw(true));
  grid.addEventListener("keydown", (event) => onKey(view, event));
  grid.addEventListener("click", (event) => onClick(view, event));
  grid.addEventListener(
    "scroll",
    () => {
      hideCutColumns(view);
      view.onSight();
    },
    { passive: true },
  );
  new ResizeObserver(() => fit(view)).observe(grid);
}

/**
 * Give the columns their widths, if the table has another.
 * @type {(view: TableView) => void}
 */
function fit(view) {
  if (view.width === view.grid.clientWidth) return;
  view.width = view.grid.clientWidth;
  widenNames(view);
  hideCutColumns(view);
}

/**
 * Give the names the room that they need, as far as the table is wide enough, and that of a column visible in part only.
 * @type {(view: TableView) => void}
 */
function widenNames({ grid, columns, wanted }) {
  grid.style.removeProperty("--name");
  const own = Number.parseFloat(getComputedStyle(grid).getPropertyValue("--name"));
  const least = Math.max(own, Math.min(wanted, grid.clientWidth * NAMES));
  const widths = columns.slice(1).map(({ width }) => width);
  const edges = widths.map((_, nth) => widths.slice(0, nth + 1).reduce((sum, width) => sum + width, 0));
  const whole = edges.filter((edge) => least + edge <= grid.clientWidth).pop() ?? 0;
  // The widest column must still fit beside the names, which do not scroll.
  if (whole >= Math.max(...widths)) grid.style.setProperty("--name", `${grid.clientWidth - whole}px`);
}

/**
 * Hide a column that is only partly visible, next to the names, which do not scroll, or at the right end: a number
 * without its first or last digits reads as another. If not even the widest column fits, nothing is hidden.
 * @type {(view: TableView) => void}
 */
function hideCutColumns({ grid, columns, heads }) {
  const edges = [heads[0].offsetWidth];
  for (const { width } of columns.slice(1)) edges.push(edges[edges.length - 1] + width);
  const [from, to] = [grid.scrollLeft + edges[0], grid.scrollLeft + grid.clientWidth];
  const first = edges.find((edge) => edge >= from - 1) ?? from;
  const last = edges.filter((edge) => edge <= to + 1).pop() ?? to;
  const fits = to - from >= Math.max(...columns.map(({ width }) => width));
  const [covered, cut] = fits ? [first - from, edges[edges.length - 1] - last] : [0, 0];
  grid.style.setProperty("--covered", `${Math.max(0, covered)}px`);
  grid.style.setProperty("--cut", `${Math.max(0, cut)}px`);
}

/** @type {(view: TableView, node: HTMLElement, nth: number) => void} */
function fill({ index, columns, order, open, cursor }, node, nth) {
  const row = order[nth];
  node.id = `row-${row}`;
  node.dataset.nth = String(nth);
  attribute(node, "aria-rowindex", nth + 2);
  attribute(node, "aria-selected", row === open);
  node.classList.toggle("cursor", nth === cursor);
  node.classList.toggle("gone", index.two && !index.columns.present[row][0]);
  writeCells(node, columns, index, row);
}

/** @type {(view: TableView, column: Column) => void} */
function sortBy(view, column) {
  if (!column.keys) return;
  view.by = turned(view.by, column);
  arrange(view, true);
}

/**
 * A column is sorted in its more useful direction first, then in the other, then not.
 * @type {(by: Sorting, column: Column) => Sorting}
 */
function turned(by, { key, right }) {
  const first = Boolean(right) || key === "shape";
  if (by.key !== key) return { key, descending: first };
  return by.descending === first ? { key, descending: !first } : UNSORTED;
}

/**
 * Sort the rows and show them, from the `top` or from where they are scrolled to.
 * @type {(view: TableView, top?: boolean) => void}
 */
function arrange(view, top = false) {
  const { columns, rows, by, grid, heads } = view;
  const keys = columns.find(({ key }) => key === by.key)?.keys?.();
  view.order = keys ? sorted(rows, keys, by.descending) : rows;
  view.cursor = Math.max(0, view.order.indexOf(view.open));
  const way = by.descending ? "descending" : "ascending";
  columns.forEach(({ key, keys: sorts }, nth) => sorts && attribute(heads[nth], "aria-sort", key === by.key ? way : "none"));
  grid.classList.toggle("empty", !view.order.length);
  attribute(grid, "aria-rowcount", view.order.length + 1);
  labelAxis(view);
  view.list.show(view.order.length, () => {
    if (top) grid.scrollTop = 0;
    fit(view); // before there are rows, which would be laid out twice
  });
  pointAt(view, view.cursor, false);
  view.onSight();
}

/** @type {(view: TableView) => string} */
function summary({ index, order }) {
  return counted(order.length, "weight") + (order.length < index.count ? ` of ${whole(index.count)}` : "");
}

/** @type {(view: TableView) => void} */
function labelAxis({ index, columns, heads }) {
  const axis = columns.findIndex(({ key }) => key === "spark");
  heads[axis].replaceChildren(...axisLabels(index.axis()));
}

/** @type {(view: TableView, nth: number, reveal?: boolean) => void} */
function pointAt(view, nth, reveal = true) {
  const { grid, list, order } = view;
  grid.querySelector(".row.cursor")?.classList.remove("cursor");
  view.cursor = nth;
  if (reveal) list.reveal(nth, HEAD);
  const node = order.length ? document.getElementById(`row-${order[nth]}`) : null;
  node?.classList.add("cursor");
  attribute(grid, "aria-activedescendant", node ? node.id : null);
}

/** @type {(view: TableView, event: KeyboardEvent) => void} */
function onKey(view, event) {
  const { grid, list, order, cursor } = view;
  if (event.ctrlKey || event.metaKey || event.altKey || event.target !== grid) return;
  const next = moved(event.key, cursor, order.length, list.perPage());
  if (next !== null) pointAt(view, next);
  else if ((event.key === "Enter" || event.key === " ") && order.length) view.onOpen(order[cursor]);
  else return;
  event.preventDefault();
}

/** @type {(view: TableView, event: MouseEvent) => void} */
function onClick(view, event) {
  const node = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest(".rows > .row"));
  if (!node) return;
  pointAt(view, Number(node.dataset.nth), false);
  view.onOpen(view.order[view.cursor]);
}
