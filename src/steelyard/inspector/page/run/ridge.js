// @ts-check
// The distribution of a weight at the step of the slider, over that of the first record.

import { FONT, fitted } from "../draw/canvas.js";
import { theme } from "../draw/theme.js";
import { along, shortly } from "./numbers.js";

export const HEIGHT = 190;
const [SIDE, TOP, BOTTOM] = [10, 10, 20];

/**
 * The place of the last histogram at or before a record.
 * @type {(rows: Int32Array, at: number) => number}
 */
export function histogramAt(rows, at) {
  let found = 0;
  while (found + 1 < rows.length && rows[found + 1] <= at) found += 1;
  return found;
}

/**
 * Draw the densities of a weight at a record and, as an outline, at the first; both have the same axes in all records.
 * @type {(canvas: HTMLCanvasElement, width: number, run: RunRecord, weight: number, at: number) => void}
 */
export function drawRidge(canvas, width, run, weight, at) {
  const context = fitted(canvas, width, HEIGHT);
  const { muted, line, accent } = theme();
  const { rows, low, high, heights, bins } = run.histograms;
  const count = run.names.length;
  const all = Array.from(rows, (_, nth) => nth * count + weight).filter((place) => Number.isFinite(low[place]));
  context.font = FONT;
  context.textAlign = "left";
  if (!all.length) {
    context.fillStyle = muted;
    context.fillText("no finite numbers", SIDE, HEIGHT / 2);
    return;
  }
  /** @type {[number, number]} */
  const range = [Math.min(...all.map((place) => low[place])), Math.max(...all.map((place) => high[place]))];
  const across = along(range[0] < range[1] ? range : [range[0] - 0.5, range[1] + 0.5], SIDE, width - SIDE);
  const densities = all.map((place) => densityOf(heights.subarray(place * bins, (place + 1) * bins), high[place] - low[place]));
  const down = along([0, Math.max(...densities.flatMap((density) => Array.from(density)), 1e-300)], HEIGHT - BOTTOM, TOP);
  const now = all.indexOf(histogramAt(rows, at) * count + weight);
  context.fillStyle = accent;
  context.strokeStyle = muted;
  for (const nth of [now, 0]) {
    if (nth < 0) continue;
    const place = all[nth];
    context.beginPath();
    context.moveTo(across(low[place]), down(0));
    densities[nth].forEach((density, bin) => {
      for (const edge of [bin, bin + 1]) context.lineTo(across(low[place] + ((high[place] - low[place]) * edge) / bins), down(density));
    });
    context.lineTo(across(high[place]), down(0));
    context.globalAlpha = 0.7;
    if (nth === now) context.fill();
    else context.stroke();
    context.globalAlpha = 1;
  }
  context.fillStyle = line;
  context.fillRect(SIDE, HEIGHT - BOTTOM, width - 2 * SIDE, 1);
  context.fillStyle = muted;
  context.fillText(shortly(range[0]), SIDE, HEIGHT - 5);
  context.textAlign = "right";
  context.fillText(shortly(range[1]), width - SIDE, HEIGHT - 5);
}

/** @type {(heights: Uint8Array, width: number) => Float64Array} */
function densityOf(heights, width) {
  const total = heights.reduce((sum, height) => sum + height, 0) || 1;
  return Float64Array.from(heights, (height) => height / total / (width || 1));
}
