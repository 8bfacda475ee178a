// @ts-check
// The drawing of the overview: the place of each weight, and its distribution.

import { FONT, contextOf, copied, fitted } from "./canvas.js";
import { element } from "./element.js";
import { bandsOf } from "../data/layers.js";
import { beyondAxis } from "./sparkline.js";
import { axisText, shownName } from "../data/text.js";
import { theme } from "./theme.js";

/**
 * @typedef {{
 *   index: Index,
 *   bands: Band[],
 *   canvas: HTMLCanvasElement,
 *   base: HTMLCanvasElement,
 *   height: number,
 *   width: number,
 *   at: number,
 *   open: number,
 *   dimmed: Uint8Array | null,
 * }} Strip
 */
/**
 * @typedef {{
 *   context: CanvasRenderingContext2D,
 *   index: Index,
 *   width: number,
 *   inner: number,
 *   left(row: number): number,
 *   dimmed: Uint8Array | null,
 *   axis: number,
 * }} StripScene
 */

const [LEFT, RIGHT, TOP, PLOT, ARROWS, BANDS, CHANGES] = [60, 10, 8, 104, 7, 20, 30];
/** A weight at least this many pixels wide is drawn as an outline, a narrower one as shades. */
const OUTLINED = 7;

/**
 * The strip of an index: a canvas and its state. The rows `at` and `open` are marked, -1 marks none;
 * `dimmed` has a 1 for each row that is drawn faintly. Everything but the marks is drawn once, into `base`.
 * @type {(index: Index, root: Layer) => Strip}
 */
export function stripOf(index, root) {
  return {
    index,
    bands: bandsOf(root, 40),
    canvas: element("canvas", { "aria-hidden": "true" }),
    base: document.createElement("canvas"),
    height: TOP + PLOT + ARROWS + BANDS + (index.two ? CHANGES : 0),
    width: 0,
    at: -1,
    open: -1,
    dimmed: null,
  };
}

/**
 * The row at a horizontal position in the browser window.
 * @type {(strip: Strip, x: number) => number}
 */
export function rowAt({ index, canvas, width }, x) {
  const share = (x - canvas.getBoundingClientRect().left - LEFT) / plotWidth(width);
  return Math.max(0, Math.min(index.count - 1, Math.floor(share * index.count)));
}

/**
 * Draw all of a strip.
 * @type {(strip: Strip) => void}
 */
export function drawStrip(strip) {
  const { index, base, width, height, dimmed, bands } = strip;
  if (!width || !index.count) return;
  const inner = plotWidth(width);
  /** @type {(row: number) => number} */
  const left = (row) => leftOf(strip, row);
  /** @type {StripScene} */
  const scene = { context: fitted(base, width, height), index, width, inner, left, dimmed, axis: index.axis() };
  drawAxis(scene);
  if (inner / index.count >= OUTLINED) drawOutlines(scene);
  else drawShades(scene);
  drawBands(scene, bands);
  if (index.two) drawChanges(scene);
  drawMarks(strip);
}

/**
 * Draw the marked rows over the base.
 * @type {(strip: Strip) => void}
 */
export function drawMarks(strip) {
  const context = fitted(strip.canvas, strip.width, strip.height);
  copied(context, strip.base);
  if (strip.at >= 0) mark(context, strip, strip.at, false);
  if (strip.open >= 0) mark(context, strip, strip.open, true);
}

/** @type {(context: CanvasRenderingContext2D, strip: Strip, row: number, strong: boolean) => void} */
function mark(context, strip, row, strong) {
  const { accent, ink } = theme();
  const [from, wide] = [leftOf(strip, row), Math.max(2, plotWidth(strip.width) / strip.index.count)];
  const bottom = strip.height - BANDS;
  context.globalAlpha = strong ? 0.28 : 0.14;
  context.fillStyle = strong ? accent : ink;
  context.fillRect(from, TOP - 4, wide, bottom - TOP + 4);
  context.globalAlpha = 1;
  if (!strong) return;
  context.fillRect(from + wide / 2 - 1, TOP - 8, 2, 6);
  context.fillRect(from, bottom + 1, wide, 2);
}

/** @type {(width: number) => number} */
function plotWidth(width) {
  return width - LEFT - RIGHT;
}

/** @type {(strip: Strip, row: number) => number} */
function leftOf({ index, width }, row) {
  return LEFT + (row / index.count) * plotWidth(width);
}

/** @type {(scene: StripScene) => void} */
function drawAxis({ context, width, axis }) {
  const { muted, line } = theme();
  context.font = FONT;
  context.textAlign = "right";
  context.textBaseline = "middle";
  const labels = [axis, 0, -axis];
  for (const [nth, value] of labels.entries()) {
    const share = nth / 2;
    const y = Math.round(TOP + share * PLOT) + 0.5;
    context.fillStyle = line;
    context.fillRect(LEFT, y - 0.5, width - LEFT - RIGHT, 1);
    context.fillStyle = muted;
    context.fillText(axisText(value), LEFT - 7, y + 3 - 6 * share);
  }
}

/**
 * Draw each weight as a shape that is wide where it has many numbers.
 * @type {(scene: StripScene) => void}
 */
function drawOutlines({ context, index, left, dimmed, axis, inner }) {
  const sparks = index.sparks[0];
  const half = Math.min(inner / index.count, 72) / 2;
  for (let row = 0; row < index.count; row += 1) {
    if (!sparks.has(row)) continue;
    const middle = left(row + 0.5);
    context.fillStyle = theme().ink;
    context.globalAlpha = dimmed?.[row] ? 0.16 : 0.86;
    for (const { wide, from, to } of steps(sparks.cells(row), half * 0.94, axis))
      context.fillRect(middle - wide, yOf(to, axis), 2 * wide, Math.max(yOf(from, axis) - yOf(to, axis), 0.5));
    const { below, above } = beyondAxis(index, row, axis);
    if (below) arrow(context, middle, -1);
    if (above) arrow(context, middle, 1);
  }
  context.globalAlpha = 1;
}

/**
 * The bins of an outline that are not empty, each with its half width: areas are counts, relative to the fullest bin.
 * @type {(cells: Uint8Array, half: number, axis: number) => { wide: number, from: number, to: number }[]}
 */
function steps(cells, half, axis) {
  const step = (2 * axis) / cells.length;
  return Array.from(cells, (cell, nth) => ({
    wide: cell ? Math.max((cell / 255) * half, 0.4) : 0,
    from: nth * step - axis,
    to: (nth + 1) * step - axis,
  })).filter(({ wide }) => wide);
}

/**
 * Mark a weight of which some numbers are beyond the axis.
 * @type {(context: CanvasRenderingContext2D, middle: number, side: number) => void}
 */
function arrow(context, middle, side) {
  const tip = side > 0 ? TOP - 6 : TOP + PLOT + 6;
  context.fillStyle = theme().muted;
  context.beginPath();
  context.moveTo(middle, tip);
  context.lineTo(middle - 3, tip + side * 4);
  context.lineTo(middle + 3, tip + side * 4);
  context.fill();
}

/** @type {(value: number, axis: number) => number} */
function yOf(value, axis) {
  return TOP + PLOT / 2 - ((value / axis) * PLOT) / 2;
}

/**
 * Draw each column of pixels as the mean of its weights.
 * @type {(scene: StripScene) => void}
 */
function drawShades({ context, index, dimmed, axis, inner }) {
  const density = devicePixelRatio || 1;
  const [wide, high] = [Math.round(inner * density), Math.round(PLOT * density)];
  const image = context.createImageData(wide, high);
  const shades = new Float32Array(high);
  for (let x = 0; x < wide; x += 1) {
    const [first, last] = [Math.floor((x / wide) * index.count), Math.max(1, Math.ceil(((x + 1) / wide) * index.count))];
    shades.fill(0);
    for (let row = first; row < last; row += 1)
      gathered(shades, index.sparks[0], row, (dimmed?.[row] ? 0.12 : 1) / (last - first));
    shadeColumn(image, x, shades);
  }
  const drawn = document.createElement("canvas");
  [drawn.width, drawn.height] = [wide, high];
  contextOf(drawn).putImageData(image, 0, 0);
  context.drawImage(drawn, LEFT, TOP, inner, PLOT);
  drawArrowsOfShades({ context, index, dimmed, axis, inner });
}

/**
 * Mark each pixel above or below which numbers are beyond the axis; its strength is the share of its weights with such numbers.
 * @type {(scene: Pick<StripScene, "context" | "index" | "dimmed" | "axis" | "inner">) => void}
 */
function drawArrowsOfShades({ context, index, dimmed, axis, inner }) {
  context.fillStyle = theme().muted;
  for (let x = 0; x < inner; x += 1) {
    const [first, last] = [Math.floor((x / inner) * index.count), Math.max(1, Math.ceil(((x + 1) / inner) * index.count))];
    const shares = { below: 0, above: 0 };
    for (let row = first; row < last; row += 1) {
      const strength = (dimmed?.[row] ? 0.12 : 1) / (last - first);
      const { below, above } = beyondAxis(index, row, axis);
      shares.below += below ? strength : 0;
      shares.above += above ? strength : 0;
    }
    context.globalAlpha = shares.above;
    context.fillRect(LEFT + x, TOP - 5, 1, 3);
    context.globalAlpha = shares.below;
    context.fillRect(LEFT + x, TOP + PLOT + 2, 1, 3);
  }
  context.globalAlpha = 1;
}

/** @type {(image: ImageData, x: number, shades: Float32Array) => void} */
function shadeColumn(image, x, shades) {
  const { inkBytes, panelBytes } = theme();
  for (let y = 0; y < image.height; y += 1) {
    const shade = Math.min(1, shades[y]) ** 0.6;
    const at = (y * image.width + x) * 4;
    for (let part = 0; part < 3; part += 1)
      image.data[at + part] = panelBytes[part] + (inkBytes[part] - panelBytes[part]) * shade;
    image.data[at + 3] = shade > 0 ? 255 : 0;
  }
}

/** @type {(shades: Float32Array, sparks: Sparks, row: number, strength: number) => void} */
function gathered(shades, sparks, row, strength) {
  if (!sparks.has(row)) return;
  const [cells, high] = [sparks.cells(row), shades.length];
  for (let y = 0; y < high; y += 1) {
    const at = cells.length * (1 - (y + 0.5) / high) - 0.5;
    const bin = Math.floor(at);
    const [near, far] = [cells[bin] ?? 0, cells[bin + 1] ?? 0];
    if (near || far) shades[y] += ((near + (far - near) * (at - bin)) / 255) * strength;
  }
}

/** @type {(scene: StripScene, bands: Band[]) => void} */
function drawBands({ context, index, left, width }, bands) {
  const { muted, soft, line } = theme();
  const top = TOP + PLOT + ARROWS + (index.two ? CHANGES : 0) + 3;
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.font = FONT;
  bands.forEach((band, nth) => {
    const [from, to] = [left(band.rows[0]), left(band.rows[band.rows.length - 1] + 1)];
    context.fillStyle = nth % 2 ? soft : line;
    context.fillRect(from, top + 1, Math.max(to - from - 1, 0.5), 14);
    const text = shortened(context, shownName(bandName(band)), to - from - 8);
    context.fillStyle = muted;
    if (text && to <= width) context.fillText(text, from + 4, top + 8.5);
  });
}

/**
 * The name of a band. The first of a numbered series also has the name of the series, since a number alone is not clear.
 * @type {(band: Band) => string}
 */
function bandName({ label, parent }) {
  const numbered = /^\d+$/.test(label) && parent?.parent && [...parent.layers.values()][0].label === label;
  return numbered && parent ? `${parent.label}.${label}` : label;
}

/** @type {(context: CanvasRenderingContext2D, text: string, room: number) => string} */
function shortened(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  for (let length = Math.min(text.length - 1, 24); length >= 3; length -= 1) {
    const cut = `${text.slice(0, length)}…`;
    if (context.measureText(cut).width <= room) return cut;
  }
  return "";
}

/**
 * Draw the relative change of each row as a bar.
 * @type {(scene: StripScene) => void}
 */
function drawChanges({ context, index, left, inner, dimmed }) {
  const { accent, line, muted } = theme();
  const [bottom, room] = [TOP + PLOT + ARROWS + CHANGES - 2, CHANGES - 8];
  context.fillStyle = line;
  context.fillRect(LEFT, bottom, inner, 1);
  context.fillStyle = muted;
  context.textAlign = "right";
  context.fillText("change", LEFT - 7, bottom - room / 2);
  context.fillStyle = accent;
  const wide = Math.max(1, Math.min(inner / index.count - 1, 40));
  for (let row = 0; row < index.count; row += 1) {
    const share = changeShare(index.columns.kind[row], index.columns.relative[row]);
    context.globalAlpha = dimmed?.[row] ? 0.25 : 1;
    if (share) context.fillRect(left(row + 0.5) - wide / 2, bottom - share * room, wide, share * room);
  }
  context.globalAlpha = 1;
}

/**
 * The height of a bar: a factor of ten is a fifth of it, since changes span many magnitudes. Weights that cannot be compared
 * count as the greatest change.
 * @type {(kind: Kind | null, relative: number | null) => number}
 */
function changeShare(kind, relative) {
  if (relative === null) return kind === "equal" ? 0 : 1;
  return relative > 0 ? Math.max(0.08, Math.min(1, 1 + Math.log10(relative) / 5)) : 0;
}
