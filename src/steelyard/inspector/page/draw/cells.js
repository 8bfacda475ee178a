// @ts-check
// The cells of a picture: their places, their numbers, and the parts of the matrix behind them.

/**
 * The window around a cell that is `times` as large as that of the picture.
 * @type {(picture: Picture, cell: Cell, times: number) => MatrixWindow}
 */
export function around(picture, [y, x], times) {
  const [top, left, bottom, right] = picture.window;
  /** @type {(from: number, to: number, middle: number, whole: number) => [number, number]} */
  const cut = (from, to, middle, whole) => {
    const length = Math.max(Math.min(whole, 8), Math.min(whole, Math.round((to - from) * times)));
    const start = Math.max(0, Math.min(whole - length, Math.round(middle - length / 2)));
    return [start, start + length];
  };
  const [up, down] = cut(top, bottom, top + (y + 0.5) * picture.down, picture.rows);
  const [near, far] = cut(left, right, left + (x + 0.5) * picture.across, picture.columns);
  return [up, near, down, far];
}

import { short } from "../data/text.js";

/** Cells of a picture that may have outliers: each of fewer cells counts. */
const MANY = 200;

/**
 * The magnitude that 99% of the cells do not exceed, if they are many.
 * @type {(picture: Picture) => number}
 */
export function usual(picture) {
  if (picture.width * picture.height < MANY) return picture.scale;
  const sizes = Float64Array.from({ length: picture.width * picture.height }, (_, nth) => Math.abs(valueOf(picture, 0, nth)));
  const known = sizes.filter((size) => !Number.isNaN(size)).sort();
  return known.length ? known[Math.floor((known.length - 1) * 0.99)] || picture.scale : 0;
}

/**
 * The number in a cell, NaN where it is not finite.
 * @type {(picture: Picture, y: number, x: number) => number}
 */
export function valueOf(picture, y, x) {
  const cell = picture.cells[y * picture.width + x];
  if (!(picture.cells instanceof Int8Array)) return cell;
  return cell === -128 ? Number.NaN : (cell / 127) * picture.scale;
}

/**
 * The number of an entry, as exactly as the picture has it; blank if its cell stands for other entries too.
 * @type {(picture: Picture, at: number) => string}
 */
export function entryText(picture, at) {
  const cell = picture.down === 1 && picture.across === 1 ? cellOf(picture, at) : null;
  if (!cell) return "";
  const value = valueOf(picture, ...cell);
  if (Number.isNaN(value)) return "not finite";
  return picture.cells instanceof Int8Array && Math.abs(value) !== picture.scale && picture.scale ? `about ${short(value)}` : short(value);
}

/**
 * The cell of an entry of the matrix; null if the entry is outside the picture.
 * @type {(picture: Picture, at: number) => Cell | null}
 */
export function cellOf(picture, at) {
  const [top, left, bottom, right] = picture.window;
  const [row, column] = [Math.floor(at / picture.columns), at % picture.columns];
  if (row < top || row >= bottom || column < left || column >= right) return null;
  return [Math.floor((row - top) / picture.down), Math.floor((column - left) / picture.across)];
}

/**
 * The window from one cell to another.
 * @type {(picture: Picture, one: Cell, other: Cell) => MatrixWindow}
 */
export function windowOf(picture, [y0, x0], [y1, x1]) {
  const [top, left, bottom, right] = picture.window;
  return [
    top + Math.min(y0, y1) * picture.down,
    left + Math.min(x0, x1) * picture.across,
    Math.min(bottom, top + (Math.max(y0, y1) + 1) * picture.down),
    Math.min(right, left + (Math.max(x0, x1) + 1) * picture.across),
  ];
}

/**
 * The cell that is nearest to a position, also one outside the picture.
 * @type {(picture: Picture, y: number, x: number) => Cell}
 */
export function nearestCell(picture, y, x) {
  return [Math.max(0, Math.min(picture.height - 1, y)), Math.max(0, Math.min(picture.width - 1, x))];
}

/**
 * Return whether any cell is not finite.
 * @type {(picture: Picture) => boolean}
 */
export function hasLost({ cells }) {
  return cells.includes(cells instanceof Int8Array ? -128 : Number.NaN);
}

/**
 * Return whether any cell is finite.
 * @type {(picture: Picture) => boolean}
 */
export function hasFinite({ cells }) {
  const lost = cells instanceof Int8Array ? -128 : Number.NaN;
  for (const each of cells) if (!Object.is(each, lost)) return true;
  return false;
}
