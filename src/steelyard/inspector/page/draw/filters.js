// @ts-check
// The filters of a convolution as small pictures.

import { fitted, keepDrawn } from "./canvas.js";
import { element } from "./element.js";
import { short } from "../data/text.js";
import { theme } from "./theme.js";

/** @typedef {{ cell: number, wide: number, high: number, across: number, rows: number }} FiltersLayout */
/**
 * @typedef {{
 *   found: Filters,
 *   count: number,
 *   canvas: HTMLCanvasElement,
 *   readout: HTMLElement,
 *   layout: FiltersLayout,
 *   at: number,
 * }} FiltersView
 */

const GAP = 4;

/**
 * The step of a key, in filters; `across` of them are in a line.
 * @type {Record<string, (across: number, count: number) => number>}
 */
const STEPS = {
  ArrowRight: () => 1,
  ArrowLeft: () => -1,
  ArrowDown: (across) => across,
  ArrowUp: (across) => -across,
  Home: (_, count) => -count,
  End: (_, count) => count,
};

/**
 * A figure of the filters of a convolution, or of other small pictures with a `caption` of their own.
 * @type {(found: Filters, name?: string, caption?: string) => HTMLElement}
 */
export function filters(found, name = "", caption = captionOf(found, name)) {
  const count = found.units.length;
  const canvas = element("canvas", { tabindex: "0", role: "img", "aria-label": caption });
  const drawing = element("div", { class: "drawing" }, canvas);
  const readout = element("p", { class: "readout", "aria-live": "polite" });
  /** @type {FiltersView} */
  const view = { found, count, canvas, readout, layout: layoutOf(found, 0), at: -1 };
  canvas.addEventListener("pointermove", (event) => pointAt(view, filterAt(view, event)));
  canvas.addEventListener("pointerleave", () => pointAt(view, -1));
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in STEPS)) return;
    const at = view.at + STEPS[event.key](view.layout.across, count);
    pointAt(view, Math.max(0, Math.min(count - 1, at)));
    event.preventDefault();
  });
  keepDrawn(drawing, (width) => draw(view, width));
  return element("figure", { class: "filters" }, drawing, readout, element("p", { class: "caption" }, caption));
}

/** @type {(view: FiltersView, event: PointerEvent) => number} */
function filterAt({ count, layout: { wide, high, across } }, { offsetX, offsetY }) {
  const [column, row] = [Math.floor(offsetX / (wide + GAP)), Math.floor(offsetY / (high + GAP))];
  const nth = row * across + column;
  return column < across && nth < count ? nth : -1;
}

/** @type {(view: FiltersView, nth: number) => void} */
function pointAt(view, nth) {
  view.at = nth;
  view.readout.textContent = nth < 0 ? "" : `${view.found.units[nth]}: ${rangeText(view.found, nth)}`;
  draw(view);
}

/** @type {(view: FiltersView, width?: number) => void} */
function draw(view, width = view.canvas.clientWidth) {
  const { found, count, canvas, at } = view;
  const layout = (view.layout = layoutOf(found, width));
  const context = fitted(canvas, width, layout.rows * (layout.high + GAP));
  for (let nth = 0; nth < count; nth += 1) drawFilter(context, found, nth, layout);
  if (at < 0) return;
  const [left, top] = cornerOf(layout, at);
  context.strokeStyle = theme().accent;
  context.lineWidth = 2;
  context.strokeRect(left + 1, top + 1, layout.wide - 2, layout.high - 2);
}

/** @type {(layout: FiltersLayout, nth: number) => [left: number, top: number]} */
function cornerOf({ wide, high, across }, nth) {
  return [(nth % across) * (wide + GAP), Math.floor(nth / across) * (high + GAP)];
}

/** @type {(found: Filters, name: string) => string} */
function captionOf(found, name) {
  const colours =
    found.colours === 3
      ? "red, green and blue inputs, grey is zero"
      : `blue is negative, orange positive, to \u00b1${short(found.scale)}`;
  const first =
    found.units.length < found.count ? `the first ${found.units.length} of ${found.count} filters` : `${found.count} filters`;
  return `${name ? `${name}: ` : ""}${first} of ${found.height} \u00d7 ${found.width}; ${colours}${found.guessed ? "; the axes are guessed from the shape" : ""}`;
}

/** @type {(found: Filters, width: number) => FiltersLayout} */
function layoutOf(found, width) {
  const [side, most] = width < 800 ? [44, 10] : [88, 24];
  const cell = Math.max(2, Math.min(most, Math.floor(side / Math.max(found.width, found.height))));
  const [wide, high] = [found.width * cell, found.height * cell];
  const across = Math.max(1, Math.floor((width + GAP) / (wide + GAP)));
  return { cell, wide, high, across, rows: Math.ceil(found.units.length / across) };
}

/** @type {(context: CanvasRenderingContext2D, found: Filters, nth: number, layout: FiltersLayout) => void} */
function drawFilter(context, found, nth, layout) {
  const { cell } = layout;
  const [left, top] = cornerOf(layout, nth);
  for (let place = 0; place < found.height * found.width; place += 1) {
    context.fillStyle = `rgb(${Array.from(colourBytes(found, nth, place)).join(" ")})`;
    context.fillRect(left + (place % found.width) * cell, top + Math.floor(place / found.width) * cell, cell, cell);
  }
}

/**
 * The red, green and blue of a place in the nth filter.
 * @type {(found: Filters, nth: number, place: number) => ArrayLike<number>}
 */
export function colourBytes({ height, width, colours, cells }, nth, place) {
  const start = (nth * height * width + place) * colours;
  const parts = cells.subarray(start, start + colours);
  if (parts.includes(-128)) return theme().accentBytes;
  if (colours === 3) return Array.from(parts, (part) => 128 + part);
  return theme().scale.subarray((parts[0] + 127) * 3, (parts[0] + 128) * 3);
}

/** @type {(found: Filters, nth: number) => string} */
function rangeText(found, nth) {
  const size = found.height * found.width * found.colours;
  const cells = found.cells.subarray(nth * size, (nth + 1) * size).filter((cell) => cell !== -128);
  if (!cells.length) return "not finite";
  /** @type {(cell: number) => string} */
  const value = (cell) => short((cell / 127) * found.scale);
  return `about ${value(Math.min(...cells))} to ${value(Math.max(...cells))}`;
}
