// @ts-check
// The histogram of a weight above its quantiles, with that of the older weight as a line over it.

import { FONT, fitted, keepDrawn } from "./canvas.js";
import { element } from "./element.js";
import { short, whole } from "../data/text.js";
import { theme } from "./theme.js";

/** @typedef {(value: number) => number} Scale */
/** @typedef {{ low: number, high: number }} Axis */
/**
 * @typedef {{
 *   canvas: HTMLCanvasElement,
 *   drawn: (Histogram | null)[],
 *   boxes: (Statistics | null)[],
 *   axis: Axis,
 *   width: number,
 *   at: number | null,
 * }} Chart
 */

const [PLOT, BOX, LABELS, TOP] = [104, 22, 18, 6];

/**
 * A figure of the details of one or two sides, null for a side without details; a sentence if all numbers are the same.
 * @type {(details: (Detail | null)[], names: string[], size: number) => HTMLElement}
 */
export function histogram(details, names, size) {
  const drawn = details.map((detail) => detail?.histogram ?? null);
  const known = drawn.flatMap((one) => one ?? []);
  if (!known.length) return element("p", { class: "none" }, "No finite numbers.");
  const [low, high] = [Math.min(...known.map((one) => one.low)), Math.max(...known.map((one) => one.high))];
  if (low === high) return element("p", { class: "none" }, known.length > 1 || size > 1 ? `All numbers are ${short(low)}.` : `The number is ${short(low)}.`);
  const axis = { low, high };
  const canvas = element("canvas", { role: "img", "aria-label": `Histogram from ${short(low)} to ${short(high)}` });
  const readout = element("p", { class: "readout" }, rest(names, known.length));
  const boxes = details.map((detail) => detail?.statistics ?? null);
  /** @type {Chart} */
  const chart = { canvas, drawn, boxes, axis, width: 0, at: null };
  /** @type {(at: number | null) => void} */
  const pointAt = (at) => {
    chart.at = at;
    readout.textContent = at === null ? rest(names, known.length) : binTexts(chart, at, names);
    draw(chart);
  };
  canvas.addEventListener("pointermove", (event) => pointAt(event.offsetX));
  canvas.addEventListener("pointerleave", () => pointAt(null));
  const drawing = element("div", { class: "drawing" }, canvas);
  keepDrawn(drawing, (width) => {
    chart.width = width;
    draw(chart);
  });
  return element("figure", { class: "histogram" }, drawing, readout);
}

/** @type {(chart: Chart) => void} */
function draw({ canvas, drawn, boxes, axis, width, at }) {
  const context = fitted(canvas, width, TOP + PLOT + BOX * drawn.filter(Boolean).length + LABELS);
  /** @type {Scale} */
  const x = (value) => 1 + ((value - axis.low) / (axis.high - axis.low)) * (width - 2);
  const { ink, accent, muted } = theme();
  const colours = [ink, accent];
  if (drawn[0]) filled(context, drawn[0], x, colours[0]);
  if (drawn[1]) outlined(context, drawn[1], x, colours[1]);
  let top = TOP + PLOT;
  boxes.forEach((statistics, side) => {
    if (!drawn[side]) return;
    if (statistics) box(context, statistics, x, top + BOX / 2, colours[side]);
    top += BOX;
  });
  labels(context, axis, x, width, top);
  if (at === null) return;
  context.fillStyle = muted;
  context.fillRect(at, TOP, 1, PLOT);
}

/** @type {(names: string[], count: number) => string} */
function rest(names, count) {
  const box = "Below: thick from 25% to 75%, thin from 1% to 99%.";
  return count > 1 ? `${names[0]} filled, ${names[1]} as a line, each scaled to its own fullest bin. ${box}` : box;
}

/** @type {(chart: Chart, at: number, names: string[]) => string} */
function binTexts({ drawn, axis, width }, at, names) {
  const value = axis.low + ((at - 1) / (width - 2)) * (axis.high - axis.low);
  const texts = drawn.map((one, side) => one && binText(one, value, names, side));
  return texts.filter(Boolean).join("  ·  ");
}

/** @type {(one: Histogram, x: Scale) => { from: number, to: number, height: number }[]} */
function bins(one, x) {
  const most = fullest(one);
  const step = (one.high - one.low) / one.counts.length;
  const flat = one.high === one.low;
  return Array.from(one.counts, (count, nth) => {
    const [from, to] = flat ? [x(one.low) - 1, x(one.low) + 1] : [x(one.low + nth * step), x(one.low + (nth + 1) * step)];
    return { from, to, height: count ? Math.max(1, (count / most) * PLOT) : 0 };
  });
}

/** @type {(context: CanvasRenderingContext2D, one: Histogram, x: Scale, colour: string) => void} */
function filled(context, one, x, colour) {
  context.fillStyle = colour;
  context.globalAlpha = 0.82;
  const gap = bins(one, x).length > 90 ? 0 : 0.75;
  for (const { from, to, height } of bins(one, x))
    context.fillRect(from, TOP + PLOT - height, Math.max(to - from - gap, 0.75), height);
  context.globalAlpha = 1;
}

/** @type {(context: CanvasRenderingContext2D, one: Histogram, x: Scale, colour: string) => void} */
function outlined(context, one, x, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 1.75;
  context.lineJoin = "round";
  context.beginPath();
  const steps = bins(one, x);
  context.moveTo(steps[0].from, TOP + PLOT);
  for (const { from, to, height } of steps) {
    context.lineTo(from, TOP + PLOT - height);
    context.lineTo(to, TOP + PLOT - height);
  }
  context.lineTo(steps[steps.length - 1].to, TOP + PLOT);
  context.stroke();
}

/** @type {(context: CanvasRenderingContext2D, statistics: Statistics, x: Scale, middle: number, colour: string) => void} */
function box(context, statistics, x, middle, colour) {
  /** @type {(word: Quantile) => number} */
  const at = (word) => x(Number(statistics[word]));
  if (statistics.q01 === null || statistics.q01 === undefined) return;
  const [q01, q25, median, q75, q99] = [at("q01"), at("q25"), at("median"), at("q75"), at("q99")];
  context.fillStyle = colour;
  context.fillRect(q01, middle - 0.5, Math.max(q99 - q01, 1), 1);
  context.fillRect(q25, middle - 3, Math.max(q75 - q25, 1), 6);
  context.fillStyle = theme().panel;
  context.fillRect(median - 1, middle - 3, 2, 6);
  context.fillStyle = colour;
  context.fillRect(median - 0.5, middle - 6, 1, 12);
}

/** @type {(context: CanvasRenderingContext2D, axis: Axis, x: Scale, width: number, top: number) => void} */
function labels(context, axis, x, width, top) {
  const { muted, line } = theme();
  context.fillStyle = line;
  context.fillRect(0, TOP + PLOT, width, 1);
  context.font = FONT;
  context.textBaseline = "alphabetic";
  context.fillStyle = muted;
  /** @type {[value: number, align: CanvasTextAlign][]} */
  const ends = [
    [axis.low, "left"],
    [axis.high, "right"],
  ];
  const zero = x(0);
  if (axis.low < 0 && axis.high > 0) {
    context.fillRect(zero - 0.5, TOP + PLOT, 1, 4);
    if (zero > 70 && zero < width - 70) ends.push([0, "center"]);
  }
  for (const [value, align] of ends) {
    context.textAlign = align;
    context.fillText(short(value), align === "center" ? zero : align === "left" ? 0 : width, top + 13);
  }
}

/** @type {(one: Histogram, value: number, names: string[], side: number) => string} */
function binText(one, value, names, side) {
  const step = (one.high - one.low) / one.counts.length;
  const nth = step ? Math.floor((value - one.low) / step) : 0;
  if (nth < 0 || nth >= one.counts.length) return "";
  const most = fullest(one);
  const amount =
    one.counts instanceof Uint8Array
      ? `${Math.round((100 * one.counts[nth]) / most)}% of the fullest bin`
      : whole(one.counts[nth]);
  const interval = `${short(one.low + nth * step)} to ${short(one.low + (nth + 1) * step)}: ${amount}`;
  return names.length > 1 ? `${names[side]} ${interval}` : interval;
}

/** @type {(one: Histogram) => number} */
function fullest({ counts }) {
  let most = 1;
  for (const count of counts) most = Math.max(most, count);
  return most;
}
