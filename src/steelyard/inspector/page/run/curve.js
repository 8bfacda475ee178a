// @ts-check
// A figure along the run as a line, with a mark at the record that the slider is at.

import { FONT, fitted } from "../draw/canvas.js";
import { theme } from "../draw/theme.js";
import { along, labelsOf, rangeOf } from "./numbers.js";

export const HEIGHT = 150;
const [LEFT, RIGHT, TOP, BOTTOM] = [58, 10, 8, 20];

/**
 * Draw a curve; `at` is the record of the slider.
 * @type {(canvas: HTMLCanvasElement, width: number, steps: Float64Array, curve: Curve, at: number) => void}
 */
export function drawCurve(canvas, width, steps, curve, at) {
  const context = fitted(canvas, width, HEIGHT);
  const { ink, muted, line, soft, accent } = theme();
  const values = Array.from(curve.values, (value) => (curve.log ? (value > 0 ? Math.log10(value) : Number.NaN) : value));
  const range = rangeOf(values);
  const across = along(rangeOf(Array.from(steps)), LEFT, width - RIGHT);
  const down = along(range, HEIGHT - BOTTOM, TOP);
  context.font = FONT;
  if (curve.band) drawBand(context, curve.band.map(Math.log10), range, down, width, soft);
  context.fillStyle = muted;
  context.textAlign = "right";
  const ticks = [0, 0.5, 1].map((share) => range[0] + (range[1] - range[0]) * share);
  const labels = labelsOf(ticks.map((value) => (curve.log ? 10 ** value : value)));
  ticks.forEach((value, nth) => {
    context.fillText(labels[nth], LEFT - 6, down(value) + 4);
    context.fillRect(LEFT - 3, Math.round(down(value)), 3, 1);
  });
  context.textAlign = "left";
  context.fillText(String(steps[0]), LEFT, HEIGHT - 5);
  context.textAlign = "right";
  context.fillText(String(steps[steps.length - 1]), width - RIGHT, HEIGHT - 5);
  context.fillStyle = line;
  context.fillRect(LEFT, HEIGHT - BOTTOM, width - RIGHT - LEFT, 1);
  drawLine(context, steps, values, across, down, ink);
  context.fillStyle = accent;
  context.fillRect(Math.round(across(steps[at])), TOP, 1, HEIGHT - BOTTOM - TOP);
  if (Number.isFinite(values[at])) dot(context, across(steps[at]), down(values[at]));
}

/** @type {(context: CanvasRenderingContext2D, band: number[], range: [number, number], down: (value: number) => number, width: number, colour: string) => void} */
function drawBand(context, band, range, down, width, colour) {
  const [low, high] = band.map((value) => Math.min(Math.max(value, range[0]), range[1]));
  context.fillStyle = colour;
  context.fillRect(LEFT, down(high), width - RIGHT - LEFT, down(low) - down(high));
}

/** @type {(context: CanvasRenderingContext2D, steps: Float64Array, values: number[], across: (value: number) => number, down: (value: number) => number, colour: string) => void} */
function drawLine(context, steps, values, across, down, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 1.2;
  context.beginPath();
  let isDrawing = false;
  values.forEach((value, nth) => {
    if (!Number.isFinite(value)) {
      isDrawing = false;
      return;
    }
    if (isDrawing) context.lineTo(across(steps[nth]), down(value));
    else context.moveTo(across(steps[nth]), down(value));
    isDrawing = true;
  });
  context.stroke();
}

/**
 * Draw a dot in the colour that is set.
 * @type {(context: CanvasRenderingContext2D, x: number, y: number) => void}
 */
export function dot(context, x, y) {
  context.beginPath();
  context.arc(x, y, 3.5, 0, 2 * Math.PI);
  context.fill();
}
