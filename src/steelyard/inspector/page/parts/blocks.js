// @ts-check
// A view of the net: its blocks as rows and their parts as columns, each cell a number in the colour of its size.

import { attribute, button, element, replace } from "../draw/element.js";
import { shade, unshade } from "../draw/shade.js";
import { colourOf, onTheme } from "../draw/theme.js";
import { lostOf, measuresOf, scaleOf, shareOf } from "../data/measures.js";
import { counted, shapeText, shownName, whole } from "../data/text.js";
import { later } from "./later.js";
import { roving } from "./roving.js";
import { virtual } from "./virtual.js";

/** @typedef {import("../data/measures.js").Measure} Measure */
/**
 * @typedef {{
 *   net: Net,
 *   record: GridRecord,
 *   measure: Measure,
 *   cells: (number[] | undefined)[][],
 *   scale: import("../data/measures.js").Scale,
 *   at: [row: number, column: number],
 *   open: number,
 *   kept: Set<number> | null,
 *   grid: HTMLElement,
 *   heads: HTMLElement,
 *   list: VirtualList,
 *   outside: HTMLElement,
 *   key: HTMLElement,
 * }} BlocksView
 */

const ROW = 22;
/** The most weights outside of the blocks that are shown. */
const MOST = 200;
const PAUSE = 200;
/** The words for the rows of each kind of grid. */
const KINDS = { blocks: "block", layers: "layer", weights: "weight" };

/**
 * The grid of a net.
 * @type {(net: Net) => NetView}
 */
export function blocks(net) {
  return later(net, net.api.net("grid"), (record) => made(net, record));
}

/** @type {(net: Net, record: GridRecord) => NetView} */
function made(net, record) {
  const view = viewOf(net, record);
  const measures = measuresOf(net.index);
  const chooser = element("select", { "aria-label": "What the cells show" });
  chooser.append(...measures.map(({ key, title }) => element("option", { value: key }, title)));
  let waiting = false;
  chooser.addEventListener("change", () => {
    view.measure = measures.find(({ key }) => key === chooser.value) ?? measures[0];
    draw(view);
    say(view);
  });
  listen(view);
  onTheme(() => draw(view));
  view.list.show(record.rows.length);
  draw(view);
  say(view);
  return {
    element: element("div", { class: "block-view" }, view.grid, view.outside),
    legend: element("div", { class: "view-tools" }, view.key, chooser),
    focus: () => view.grid.focus(),
    open(row) {
      view.open = row;
      draw(view);
    },
    show(rows) {
      view.kept = rows.length === net.index.count ? null : new Set(rows);
      draw(view);
    },
    refresh() {
      if (waiting) return;
      waiting = true;
      setTimeout(() => ((waiting = false), draw(view)), PAUSE);
    },
    wants: () => [...view.list.inSight().flatMap((row) => view.cells[row].flatMap((rows) => rows ?? [])), ...record.outside],
  };
}

/** @type {(net: Net, record: GridRecord) => BlocksView} */
function viewOf(net, record) {
  const { rows, columns } = record;
  const head = element("div", { class: "block-row", role: "row", "aria-rowindex": 1 }, element("div", { role: "columnheader" }, KINDS[record.kind]));
  head.append(...columns.map((name) => headOf(name)));
  const heads = element("div", { class: "block-heads", role: "rowgroup" }, head);
  const body = element("div", { class: "block-rows", role: "rowgroup" });
  const grid = element(
    "div",
    { class: "blocks", role: "grid", tabindex: 0, "aria-label": "Blocks and their parts", "aria-rowcount": rows.length + 1, "aria-colcount": columns.length + 1 },
    heads,
    body,
  );
  grid.style.setProperty("--count", String(columns.length));
  const longest = Math.max(6, ...rows.slice(0, 500).map((name) => shownName(name).length + 1));
  grid.style.setProperty("--label", `min(40vw, ${Math.min(columns.length > 4 ? 22 : 60, longest)}ch)`);
  const list = virtual(grid, body, ROW, () => blankRow(columns.length), (node, nth) => fill(view, node, nth));
  /** @type {BlocksView} */
  const view = {
    net,
    record,
    measure: measuresOf(net.index)[0],
    cells: cellsOf(record),
    scale: { kind: "linear", low: 0, high: 0 },
    at: [-1, -1],
    open: -1,
    kept: null,
    grid,
    heads,
    list,
    outside: element("div", { class: "block-outside", role: "group", "aria-label": `Weights outside of the ${KINDS[record.kind]}s` }),
    key: element("span", { class: "block-key" }),
  };
  return view;
}

/**
 * The name of a column, which may break after each of its words.
 * @type {(name: string) => HTMLElement}
 */
function headOf(name) {
  const shown = name ? shownName(name) : "value";
  const words = shown.split(/(?<=[./_])/);
  return element("div", { role: "columnheader", title: shown }, ...words.flatMap((word) => [word, element("wbr")]));
}

/** @type {(record: GridRecord) => (number[] | undefined)[][]} */
function cellsOf({ rows, columns, down, across }) {
  /** @type {(number[] | undefined)[][]} */
  const cells = rows.map(() => Array(columns.length));
  down.forEach((at, row) => {
    if (at >= 0) (cells[at][across[row]] ??= []).push(row);
  });
  return cells;
}

/** @type {(count: number) => HTMLElement} */
function blankRow(count) {
  const cells = Array.from({ length: count }, (_, nth) => element("div", { class: "block-cell", role: "gridcell", "aria-colindex": nth + 2 }));
  return element("div", { class: "block-row", role: "row" }, element("div", { class: "block-name", role: "rowheader" }), ...cells);
}

/**
 * Draw everything again, since numbers, colours or marks may have changed.
 * @type {(view: BlocksView) => void}
 */
function draw(view) {
  const { record, measure, cells } = view;
  /** @type {(rows: number[]) => number | never[]} */
  const valueOf = (rows) => numberOf(view, rows) ?? [];
  const inside = cells.flatMap((line) => line.flatMap((rows) => (rows ? valueOf(rows) : [])));
  view.scale = scaleOf(measure.scale, inside.length ? inside : record.outside.flatMap((row) => valueOf([row])));
  view.list.draw(true);
  drawOutside(view);
  const { low, high } = view.scale;
  replace(view.key, ...(high ? [measure.text(low), element("i", { "aria-hidden": "true" }), measure.text(high)] : []));
  const bar = view.key.querySelector("i");
  const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => colourOf(shareOf({ kind: "linear", low: 0, high: 1 }, low ? 0.12 + 0.88 * share : share)));
  if (bar) bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  attribute(view.grid, "data-measure", measure.key);
}

/**
 * The number of a cell, null where there is none.
 * @type {(view: BlocksView, rows: number[]) => number | null}
 */
function numberOf({ net, record, measure }, rows) {
  return rows.some((row) => record.notes[row]) ? null : measure.of(net.index, rows);
}

/** @type {(view: BlocksView, node: HTMLElement, nth: number) => void} */
function fill(view, node, nth) {
  const { record, cells, at } = view;
  attribute(node, "aria-rowindex", nth + 2);
  node.children[0].textContent = shownName(record.rows[nth]);
  attribute(node.children[0], "title", shownName(record.rows[nth]));
  for (let column = 0; column < record.columns.length; column += 1) {
    const cell = /** @type {HTMLElement} */ (node.children[column + 1]);
    cell.id = `block-${nth}-${column}`;
    cell.dataset.place = `${nth} ${column}`;
    cell.classList.toggle("here", at[0] === nth && at[1] === column);
    write(view, cell, cells[nth][column]);
  }
}

/** @type {(view: BlocksView, cell: HTMLElement, rows: number[] | undefined) => void} */
function write(view, cell, rows) {
  const { net, measure, scale, kept, open } = view;
  const value = rows ? numberOf(view, rows) : null;
  cell.classList.toggle("none", !rows);
  cell.classList.toggle("lost", Boolean(rows && lostOf(net.index, rows)));
  cell.classList.toggle("open", Boolean(rows?.includes(open)));
  cell.classList.toggle("dim", Boolean(rows && kept && !rows.some((row) => kept.has(row))));
  cell.textContent = value === null ? (rows ? "\u2013" : "") : Number.isFinite(value) ? measure.text(value) : "NaN";
  if (value === null || !Number.isFinite(value)) unshade(cell);
  else shade(cell, colourOf(shareOf(scale, value)));
}

/** @type {(view: BlocksView) => void} */
function drawOutside(view) {
  const { net, record, outside } = view;
  const listed = record.outside.slice(0, MOST);
  outside.hidden = !listed.length;
  if (outside.childElementCount < 2) {
    const buttons = listed.map((row) => {
      const made = button("", () => net.onOpen(row), { title: "Open this weight" });
      made.append(element("span", {}, net.index.shown[row]), element("b", { class: "block-cell" }));
      return made;
    });
    const more = record.outside.length - listed.length;
    replace(outside, element("span", { class: "none" }, `outside of the ${KINDS[record.kind]}s`), ...buttons, more > 0 && `and ${whole(more)} more`);
    roving(outside);
  }
  outside.querySelectorAll("b").forEach((cell, nth) => write(view, cell, [listed[nth]]));
}

/**
 * Say what the view shows, or the weight and the number of a cell.
 * @type {(view: BlocksView) => void}
 */
function say(view) {
  const { net, record, measure, cells, at } = view;
  const rows = at[0] < 0 ? undefined : cells[at[0]][at[1]];
  if (at[0] < 0 || !rows) {
    const parts = record.kind === "weights" ? "" : ` and ${record.rows.length === 1 ? "its" : "their"} ${counted(record.columns.length, "part")}`;
    const sides = `${counted(record.rows.length, KINDS[record.kind])}${parts}`;
    const hidden = record.hidden ? `; ${whole(record.hidden)} more parts are not shown` : "";
    net.say(at[0] < 0 ? `${sides}: the ${measure.title} of each${hidden}` : "no such part in this block");
    return;
  }
  net.say(wordsOf(view, rows));
}

/** @type {(view: BlocksView, rows: number[]) => string} */
function wordsOf({ net, record, measure }, rows) {
  const { index } = net;
  const [first] = rows;
  const name = rows.length === 1 ? index.shown[first] : `${index.shown[first]} and ${counted(rows.length - 1, "other")} together`;
  const note = rows.map((row) => record.notes[row]).find(Boolean);
  const value = note ? null : measure.of(index, rows);
  const number = value === null ? (note ?? unknown(index, first, measure)) : `${measure.title} ${measure.text(value)}`;
  const lost = lostOf(index, rows);
  const verdict = index.two && rows.length === 1 ? index.columns.verdict[first] : "";
  const wrong = lost && measure.key !== "lost" ? `${whole(lost)} NaN or Inf` : "";
  return [name, shapeText(index.columns.shape[first]), number, wrong, verdict].filter(Boolean).map(shownName).join("  ·  ");
}

/** @type {(index: Index, row: number, measure: Measure) => string} */
function unknown(index, row, measure) {
  if (!measure.two) return index.live ? "not read yet" : "no number";
  const kind = index.columns.kind[row];
  if (measure.key === "rank" && kind === "changed") return "not a low-rank change";
  return kind ?? "not compared yet";
}

/** @type {(view: BlocksView) => void} */
function listen(view) {
  const { grid, net } = view;
  grid.addEventListener("pointermove", (event) => pointAt(view, placeOf(event) ?? [-1, -1]));
  grid.addEventListener("pointerleave", () => pointAt(view, [-1, -1]));
  grid.addEventListener("blur", () => pointAt(view, [-1, -1]));
  grid.addEventListener("focus", () => grid.matches(":focus-visible") && view.at[0] < 0 && pointAt(view, startOf(view), true));
  grid.addEventListener("scroll", () => net.onSight?.(), { passive: true });
  grid.addEventListener("keydown", (event) => onKey(view, event));
  grid.addEventListener("click", (event) => {
    const place = placeOf(event);
    if (place) openAt(view, place);
  });
}

/**
 * The cell of the open weight, or the first one.
 * @type {(view: BlocksView) => [number, number]}
 */
function startOf({ record, open }) {
  return open >= 0 && record.down[open] >= 0 ? [record.down[open], record.across[open]] : [0, 0];
}

/** @type {(event: Event) => [number, number] | null} */
function placeOf({ target }) {
  const cell = /** @type {HTMLElement | null} */ (/** @type {Element} */ (target).closest("[data-place]"));
  const place = cell?.dataset.place?.split(" ").map(Number);
  return place ? [place[0], place[1]] : null;
}

/** @type {(view: BlocksView, place: [number, number]) => void} */
function openAt({ net, cells }, [row, column]) {
  const rows = cells[row]?.[column];
  if (rows) net.onOpen(rows[0]);
}

/** @type {(view: BlocksView, place: [number, number], reveal?: boolean) => void} */
function pointAt(view, place, reveal = false) {
  const { grid, heads, list } = view;
  if (place[0] === view.at[0] && place[1] === view.at[1]) return;
  grid.querySelector(".block-cell.here")?.classList.remove("here");
  view.at = place;
  if (reveal) list.reveal(place[0], heads.offsetHeight);
  const cell = place[0] < 0 ? null : document.getElementById(`block-${place[0]}-${place[1]}`);
  cell?.classList.add("here");
  if (reveal && cell) across(grid, cell);
  attribute(grid, "aria-activedescendant", cell?.id);
  say(view);
}

/**
 * Scroll sideways as little as shows a cell beside the names.
 * @type {(grid: HTMLElement, cell: HTMLElement) => void}
 */
function across(grid, cell) {
  const label = /** @type {HTMLElement} */ (cell.parentElement?.firstElementChild).offsetWidth;
  const [left, right] = [cell.offsetLeft - label, cell.offsetLeft + cell.offsetWidth - grid.clientWidth];
  if (grid.scrollLeft > left) grid.scrollLeft = left;
  else if (grid.scrollLeft < right) grid.scrollLeft = right;
}

/** @type {(view: BlocksView, event: KeyboardEvent) => void} */
function onKey(view, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !view.record.rows.length) return;
  const [last, end] = [view.record.rows.length - 1, view.record.columns.length - 1];
  const [row, column] = view.at[0] < 0 ? startOf(view) : view.at;
  const page = view.list.perPage();
  /** @type {Record<string, [number, number]>} */
  const places = {
    ArrowDown: [row + 1, column],
    ArrowUp: [row - 1, column],
    ArrowRight: [row, column + 1],
    ArrowLeft: [row, column - 1],
    PageDown: [row + page, column],
    PageUp: [row - page, column],
    Home: [row, 0],
    End: [row, end],
  };
  if (event.key in places) {
    const [down, right] = places[event.key];
    pointAt(view, [Math.max(0, Math.min(last, down)), Math.max(0, Math.min(end, right))], true);
  } else if (event.key === "Enter" || event.key === " ") openAt(view, [row, column]);
  else return;
  event.preventDefault();
}
