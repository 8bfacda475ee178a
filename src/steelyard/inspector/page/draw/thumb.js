// @ts-check
// A tiny picture in a row of the table: of a matrix as a heat map, of a convolution its first filters.

import { contextOf, fitted } from "./canvas.js";
import { colourBytes } from "./filters.js";
import { theme } from "./theme.js";

export const WIDE = 46;
export const HIGH = 20;
const GAP = 1;
/** The height of a list of numbers, and the least of anything else, in pixels. */
const [FLAT, LEAST] = [8, 5];
/** Each of the few pictures is drawn in its own pixels first, then scaled. */
const cells = document.createElement("canvas");

/**
 * Draw a tiny picture; nothing if there is none.
 * @type {(canvas: HTMLCanvasElement, thumb: Thumb | undefined) => void}
 */
export function drawThumb(canvas, thumb) {
  const context = fitted(canvas, WIDE, HIGH);
  context.imageSmoothingEnabled = false;
  if (!thumb || !thumb.cells.length) return;
  if ("units" in thumb) drawFilters(context, thumb);
  else drawMatrix(context, thumb);
}

/** @type {(context: CanvasRenderingContext2D, thumb: Exclude<Thumb, Filters>) => void} */
function drawMatrix(context, { rows, columns, height, width, cells: codes }) {
  const { scale, accentBytes } = theme();
  paint(width, height, (nth) => (codes[nth] === -128 ? accentBytes : scale.subarray((codes[nth] + 127) * 3, (codes[nth] + 128) * 3)));
  const aspect = rows / columns;
  const high = rows === 1 ? FLAT : Math.max(LEAST, Math.min(HIGH, WIDE * aspect));
  const wide = rows === 1 ? Math.min(WIDE, width * 8) : Math.max(LEAST, Math.min(WIDE, HIGH / aspect));
  context.drawImage(cells, (WIDE - wide) / 2, (HIGH - high) / 2, wide, high);
}

/** @type {(context: CanvasRenderingContext2D, thumb: Filters) => void} */
function drawFilters(context, thumb) {
  const { units, height, width } = thumb;
  const side = units.length > 8 ? (HIGH - GAP) / 2 : HIGH;
  const [across, down] = [Math.floor((WIDE + GAP) / (side + GAP)), Math.floor((HIGH + GAP) / (side + GAP))];
  const grow = side / Math.max(height, width);
  for (let nth = 0; nth < Math.min(units.length, across * down); nth += 1) {
    paint(width, height, (at) => colourBytes(thumb, nth, at));
    const [left, top] = [(nth % across) * (side + GAP), Math.floor(nth / across) * (side + GAP)];
    context.drawImage(cells, 0, 0, width, height, left, top, width * grow, height * grow);
  }
}

/** @type {(width: number, height: number, colour: (nth: number) => ArrayLike<number>) => void} */
function paint(width, height, colour) {
  [cells.width, cells.height] = [width, height];
  const image = new ImageData(width, height);
  for (let nth = 0; nth < width * height; nth += 1) {
    const bytes = colour(nth);
    for (let part = 0; part < 3; part += 1) image.data[nth * 4 + part] = bytes[part];
    image.data[nth * 4 + 3] = 255;
  }
  contextOf(cells).putImageData(image, 0, 0);
}
