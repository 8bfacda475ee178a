// @ts-check
// The distributions in the overview: an outline of each weight, or shades where there are too many of them.

import { contextOf } from "./canvas.js";
import { bytesOfRole, colourOfRole } from "./roles.js";
import { beyondAxis } from "./sparkline.js";
import { theme } from "./theme.js";

/** @typedef {import("./strip.js").StripScene} StripScene */

/** Pixels left of the plot and above it. */
export const LEFT = 60;
export const TOP = 8;
/** Numbers of a weight that are dashes: so few have no shape. */
const FEW = 32;
/** The shades of a weight whose distribution is not known: of its range, and in addition within a standard deviation. */
const [RANGE, WITHIN] = [0.06, 0.24];

/**
 * Draw each weight as a shape that is wide where it has many numbers; a few numbers are dashes where they are.
 * @type {(scene: StripScene) => void}
 */
export function drawOutlines({ context, index, left, dimmed, axis, inner, plot }) {
  const sparks = index.sparks[0];
  const half = Math.min(inner / index.count, 72) / 2;
  for (let row = 0; row < index.count; row += 1) {
    if (!sparks.has(row)) continue;
    const middle = left(row + 0.5);
    context.fillStyle = colourOfRole(index.columns.role[row]);
    context.globalAlpha = dimmed?.[row] ? 0.16 : 0.86;
    const few = index.columns.size[row] <= FEW;
    for (const { wide, from, to } of steps(sparks.cells(row), half * 0.94, axis)) {
      const [high, low] = [yOf(to, axis, plot), yOf(from, axis, plot)];
      if (few) context.fillRect(middle - half * 0.5, (high + low) / 2 - 0.75, half, 1.5);
      else context.fillRect(middle - wide, high, 2 * wide, Math.max(low - high, 0.5));
    }
    const { below, above } = beyondAxis(index, row, axis);
    if (below) arrow(context, middle, -1, plot);
    if (above) arrow(context, middle, 1, plot);
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
 * @type {(context: CanvasRenderingContext2D, middle: number, side: number, plot: number) => void}
 */
function arrow(context, middle, side, plot) {
  const tip = side > 0 ? TOP - 6 : TOP + plot + 6;
  context.fillStyle = theme().muted;
  context.beginPath();
  context.moveTo(middle, tip);
  context.lineTo(middle - 3, tip + side * 4);
  context.lineTo(middle + 3, tip + side * 4);
  context.fill();
}

/** @type {(value: number, axis: number, plot: number) => number} */
function yOf(value, axis, plot) {
  return TOP + plot / 2 - ((value / axis) * plot) / 2;
}

/**
 * Draw each column of pixels as the mean of its weights: of those whose distributions are known, or else of the ranges of all.
 * @type {(scene: StripScene) => void}
 */
export function drawShades({ context, index, dimmed, axis, inner, plot }) {
  const density = devicePixelRatio || 1;
  const [wide, high] = [Math.round(inner * density), Math.round(plot * density)];
  const image = context.createImageData(wide, high);
  const sparks = index.sparks[0];
  const sums = new Float64Array(sparks.cells(0).length);
  const places = placesOf(high, sums.length);
  for (let x = 0; x < wide; x += 1) {
    const [first, last] = [Math.floor((x / wide) * index.count), Math.max(1, Math.ceil(((x + 1) / wide) * index.count))];
    /** @type {number[]} */
    const known = [];
    for (let row = first; row < last; row += 1) if (sparks.has(row)) known.push(row);
    const rows = known.length ? known : Array.from({ length: last - first }, (_, nth) => first + nth);
    sums.fill(0);
    for (const row of rows) {
      const strength = (dimmed?.[row] ? 0.12 : 1) / rows.length;
      if (known.length) gathered(sums, sparks.cells(row), strength);
      else ranged(sums, index.columns, row, { axis, strength });
    }
    shadeColumn(image, x, sums, places, meanColour(index, rows));
  }
  const drawn = document.createElement("canvas");
  [drawn.width, drawn.height] = [wide, high];
  contextOf(drawn).putImageData(image, 0, 0);
  context.drawImage(drawn, LEFT, TOP, inner, plot);
  drawArrowsOfShades({ context, index, dimmed, axis, inner, plot });
}

/**
 * Mark each pixel above or below which numbers are beyond the axis; its strength is the share of its weights with such numbers.
 * @type {(scene: Pick<StripScene, "context" | "index" | "dimmed" | "axis" | "inner" | "plot">) => void}
 */
function drawArrowsOfShades({ context, index, dimmed, axis, inner, plot }) {
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
    context.fillRect(LEFT + x, TOP + plot + 2, 1, 3);
  }
  context.globalAlpha = 1;
}

/**
 * The mean colour of the roles of some rows.
 * @type {(index: Index, rows: number[]) => number[]}
 */
function meanColour({ columns }, rows) {
  const sums = [0, 0, 0];
  for (const row of rows) {
    const bytes = bytesOfRole(columns.role[row]);
    for (let part = 0; part < 3; part += 1) sums[part] += bytes[part];
  }
  return sums.map((sum) => sum / rows.length);
}

/**
 * Draw a column of pixels of the summed bins of its weights, between whose middles shades change evenly.
 * @type {(image: ImageData, x: number, sums: Float64Array, places: Float64Array, inkBytes: number[]) => void}
 */
function shadeColumn({ data, width, height }, x, sums, places, inkBytes) {
  const { panelBytes } = theme();
  for (let y = 0; y < height; y += 1) {
    const bin = Math.floor(places[y]);
    const [near, far] = [bin < 0 ? 0 : sums[bin], bin + 1 < sums.length ? sums[bin + 1] : 0];
    if (!near && !far) continue;
    const shade = Math.min(1, near + (far - near) * (places[y] - bin)) ** 0.6;
    const at = (y * width + x) * 4;
    for (let part = 0; part < 3; part += 1) data[at + part] = panelBytes[part] + (inkBytes[part] - panelBytes[part]) * shade;
    data[at + 3] = 255;
  }
}

/**
 * The place of each pixel of a column among the bins, whose middles are whole numbers, from the top.
 * @type {(high: number, bins: number) => Float64Array}
 */
function placesOf(high, bins) {
  return Float64Array.from({ length: high }, (_, y) => bins * (1 - (y + 0.5) / high) - 0.5);
}

/**
 * Add the range of a weight without a distribution, and what is within a standard deviation of its mean.
 * @type {(sums: Float64Array, columns: Columns, row: number, how: { axis: number, strength: number }) => void}
 */
function ranged(sums, { min, max, mean, std }, row, { axis, strength }) {
  const [low, high, middle, spread] = [min[row], max[row], mean[row], std[row]];
  if (low === null || high === null) return;
  filled(sums, low, high, axis, RANGE * strength);
  if (middle !== null && spread !== null) filled(sums, middle - spread, middle + spread, axis, WITHIN * strength);
}

/** @type {(sums: Float64Array, low: number, high: number, axis: number, strength: number) => void} */
function filled(sums, low, high, axis, strength) {
  /** @type {(value: number) => number} */
  const binOf = (value) => Math.min(sums.length - 1, Math.max(0, Math.floor(((value + axis) / (2 * axis)) * sums.length)));
  for (let bin = binOf(low); bin <= binOf(high); bin += 1) sums[bin] += strength;
}

/** @type {(sums: Float64Array, cells: Uint8Array, strength: number) => void} */
function gathered(sums, cells, strength) {
  for (let bin = 0; bin < sums.length; bin += 1) sums[bin] += cells[bin] * (strength / 255);
}
