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
 * Draw each column of pixels as the mean of its weights.
 * @type {(scene: StripScene) => void}
 */
export function drawShades({ context, index, dimmed, axis, inner, plot }) {
  const density = devicePixelRatio || 1;
  const [wide, high] = [Math.round(inner * density), Math.round(plot * density)];
  const image = context.createImageData(wide, high);
  const shades = new Float32Array(high);
  for (let x = 0; x < wide; x += 1) {
    const [first, last] = [Math.floor((x / wide) * index.count), Math.max(1, Math.ceil(((x + 1) / wide) * index.count))];
    shades.fill(0);
    for (let row = first; row < last; row += 1)
      gathered(shades, index.sparks[0], row, (dimmed?.[row] ? 0.12 : 1) / (last - first));
    shadeColumn(image, x, shades, meanColour(index, first, last));
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
 * @type {(index: Index, first: number, last: number) => number[]}
 */
function meanColour({ columns }, first, last) {
  const sums = [0, 0, 0];
  for (let row = first; row < last; row += 1) bytesOfRole(columns.role[row]).forEach((byte, part) => (sums[part] += byte));
  return sums.map((sum) => sum / (last - first));
}

/** @type {(image: ImageData, x: number, shades: Float32Array, inkBytes: number[]) => void} */
function shadeColumn(image, x, shades, inkBytes) {
  const { panelBytes } = theme();
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
