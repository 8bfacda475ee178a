// @ts-check
// The drawing of the overview: the place of each weight, and its distribution.

import { drawBands } from "./bands.js";
import { FONT, copied, fitted } from "./canvas.js";
import { element } from "./element.js";
import { LEFT, TOP, drawOutlines, drawShades } from "./outlines.js";
import { roundedUp } from "../data/sparks.js";
import { axisText } from "../data/text.js";
import { theme } from "./theme.js";

/**
 * @typedef {{
 *   index: Index,
 *   root: Layer,
 *   canvas: HTMLCanvasElement,
 *   base: HTMLCanvasElement,
 *   height: number,
 *   width: number,
 *   plot: number,
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
 *   plot: number,
 * }} StripScene
 */

const [RIGHT, ARROWS, BANDS, CHANGES] = [10, 7, 20, 36];
/** Pixels of the plot, and in a low window, which has more need of the room. */
const [PLOT, LOW_PLOT, LOW] = [104, 64, 780];
/** A weight at least this many pixels wide is drawn as an outline, a narrower one as shades. */
const OUTLINED = 7;
/** The most pixels of a mark, which an outline does not exceed. */
const MARK = 84;

/**
 * The strip of an index: a canvas and its state. The rows `at` and `open` are marked, -1 marks none;
 * `dimmed` has a 1 for each row that is drawn faintly. Everything but the marks is drawn once, into `base`.
 * @type {(index: Index, root: Layer) => Strip}
 */
export function stripOf(index, root) {
  return {
    index,
    root,
    canvas: element("canvas", { "aria-hidden": "true" }),
    base: document.createElement("canvas"),
    height: 0,
    width: 0,
    plot: PLOT,
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
  const { index, base, width, dimmed, root } = strip;
  if (!width || !index.count) return;
  const plot = (strip.plot = innerHeight < LOW ? LOW_PLOT : PLOT);
  const height = (strip.height = TOP + plot + ARROWS + BANDS + (index.two ? CHANGES : 0));
  const inner = plotWidth(width);
  /** @type {(row: number) => number} */
  const left = (row) => leftOf(strip, row);
  /** @type {StripScene} */
  const scene = { context: fitted(base, width, height), index, width, inner, left, dimmed, axis: index.axis(), plot };
  drawAxis(scene);
  if (inner / index.count >= OUTLINED) drawOutlines(scene);
  else drawShades(scene);
  drawBands(scene, root, height - BANDS + 3);
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
  const room = plotWidth(strip.width) / strip.index.count;
  const wide = Math.max(2, Math.min(room, MARK));
  const from = leftOf(strip, row) + Math.max(0, room - wide) / 2;
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
function drawAxis({ context, width, axis, plot }) {
  const { muted, line } = theme();
  context.font = FONT;
  context.textAlign = "right";
  context.textBaseline = "middle";
  const labels = [axis, 0, -axis];
  for (const [nth, value] of labels.entries()) {
    const share = nth / 2;
    const y = Math.round(TOP + share * plot) + 0.5;
    context.fillStyle = line;
    context.fillRect(LEFT, y - 0.5, width - LEFT - RIGHT, 1);
    context.fillStyle = muted;
    context.fillText(axisText(value), LEFT - 7, y + 3 - 6 * share);
  }
}

/**
 * Draw the relative change of each row as a bar, on a linear axis up to the greatest or to 1: a bar of the full height has changed
 * by its own norm or more. Weights that cannot be compared have an empty bar.
 * @type {(scene: StripScene) => void}
 */
function drawChanges({ context, index, left, inner, dimmed, plot }) {
  const { accent, line, muted } = theme();
  const [bottom, room] = [TOP + plot + ARROWS + CHANGES - 2, CHANGES - 10];
  const most = Math.min(1, roundedUp(greatest(index.columns.relative)));
  context.fillStyle = line;
  for (const y of [bottom, bottom - room]) context.fillRect(LEFT, y, inner, 1);
  context.fillStyle = muted;
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.fillText(axisText(most), LEFT - 7, bottom - room + 1);
  context.fillText("change", LEFT - 7, bottom - 5);
  [context.fillStyle, context.strokeStyle, context.lineWidth] = [accent, accent, 1];
  const wide = Math.max(1, Math.min(inner / index.count - 1, 40));
  for (let row = 0; row < index.count; row += 1) {
    const [kind, relative, from] = [index.columns.kind[row], index.columns.relative[row], left(row + 0.5) - wide / 2];
    context.globalAlpha = dimmed?.[row] ? 0.25 : 1;
    const isKnown = relative !== null && Number.isFinite(relative);
    const high = isKnown && relative ? Math.max(1.5, Math.min(1, relative / most) * room) : 0;
    if (high) context.fillRect(from, bottom - high, wide, high);
    else if (!isKnown && kind && kind !== "equal") context.strokeRect(from + 0.5, bottom - room + 0.5, wide - 1, room - 1);
  }
  context.globalAlpha = 1;
}

/** @type {(values: (number | null)[]) => number} */
function greatest(values) {
  let most = 0;
  for (const value of values) if (value !== null && value > most && value < Infinity) most = value;
  return most;
}
