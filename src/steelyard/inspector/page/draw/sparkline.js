// @ts-check
// A small histogram in a row of the table; all rows share one axis, so that they can be compared.

import { fitted } from "./canvas.js";
import { theme } from "./theme.js";

export const WIDTH = 108;
export const HEIGHT = 20;
/** Room on each side for the arrow that marks numbers beyond the axis. */
const MARGIN = 8;

/**
 * Draw the histogram of a row: filled for the newer source, as a line for the older one.
 * @type {(canvas: HTMLCanvasElement, index: Index, row: number, axis: number) => void}
 */
export function drawSpark(canvas, index, row, axis) {
  const context = fitted(canvas, WIDTH, HEIGHT);
  const { ink, accent, line } = theme();
  if (!index.sparks.some((side) => side.has(row))) return; // an axis without bars would be a distribution of no numbers
  context.fillStyle = line;
  context.fillRect(MARGIN, HEIGHT - 1, WIDTH - 2 * MARGIN, 1);
  context.fillRect(WIDTH / 2 - 0.5, HEIGHT - 3, 1, 3);
  const [after, before] = index.sparks;
  if (after.has(row)) filled(context, after, row, ink);
  const { below, above } = beyondAxis(index, row, axis);
  if (after.has(row) && below) arrow(context, -1, ink);
  if (after.has(row) && above) arrow(context, 1, ink);
  if (index.two && before.has(row) && before.cells(row).some(Boolean)) outlined(context, before, row, accent);
}

/**
 * The sides on which some numbers of a row are beyond the axis, whose end is rounded to a float32.
 * @type {(index: Index, row: number, axis: number) => { below: boolean, above: boolean }}
 */
export function beyondAxis(index, row, axis) {
  const [low, high, end] = [index.columns.min[row], index.columns.max[row], axis * (1 + 2 ** -23)];
  return { below: low !== null && low < -end, above: high !== null && high > end };
}

/** @type {(context: CanvasRenderingContext2D, side: number, colour: string) => void} */
function arrow(context, side, colour) {
  const tip = side > 0 ? WIDTH : 0;
  context.fillStyle = colour;
  context.beginPath();
  context.moveTo(tip, HEIGHT / 2);
  context.lineTo(tip - side * (MARGIN - 2), HEIGHT / 2 - 4.5);
  context.lineTo(tip - side * (MARGIN - 2), HEIGHT / 2 + 4.5);
  context.fill();
}

/** @type {(sparks: Sparks, row: number) => { left: number, width: number, height: number }[]} */
function bars(sparks, row) {
  const cells = sparks.cells(row);
  const width = (WIDTH - 2 * MARGIN) / cells.length;
  return Array.from(cells, (cell, nth) => ({
    left: MARGIN + nth * width,
    width,
    height: cell ? Math.max(1, (cell / 255) * (HEIGHT - 3)) : 0,
  }));
}

/** @type {(context: CanvasRenderingContext2D, sparks: Sparks, row: number, colour: string) => void} */
function filled(context, sparks, row, colour) {
  context.fillStyle = colour;
  for (const { left, width, height } of bars(sparks, row)) {
    if (height) context.fillRect(left, HEIGHT - 1 - height, Math.max(width - 0.5, 0.75), height);
  }
}

/** @type {(context: CanvasRenderingContext2D, sparks: Sparks, row: number, colour: string) => void} */
function outlined(context, sparks, row, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 1.25;
  context.beginPath();
  for (const { left, width, height } of bars(sparks, row)) {
    context.lineTo(left, HEIGHT - 1.5 - height);
    context.lineTo(left + width, HEIGHT - 1.5 - height);
  }
  context.stroke();
}
