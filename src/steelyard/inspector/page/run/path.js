// @ts-check
// The path of all weights on two principal components.

import { fitted } from "../draw/canvas.js";
import { theme } from "../draw/theme.js";
import { dot } from "./curve.js";
import { along, rangeOf } from "./numbers.js";

export const HEIGHT = 190;
const SIDE = 12;

/**
 * Draw the path; what comes after the record of the slider is pale.
 * @type {(canvas: HTMLCanvasElement, width: number, points: Float32Array, at: number) => void}
 */
export function drawPath(canvas, width, points, at) {
  const context = fitted(canvas, width, HEIGHT);
  const { ink, line, accent } = theme();
  const x = Array.from(points).filter((_, nth) => nth % 2 === 0);
  const y = Array.from(points).filter((_, nth) => nth % 2 === 1);
  const across = along(rangeOf(x), SIDE, width - SIDE);
  const down = along(rangeOf(y), HEIGHT - SIDE, SIDE);
  context.lineWidth = 1.4;
  for (const [from, to, colour] of /** @type {[number, number, string][]} */ ([[at, x.length - 1, line], [0, at, ink]])) {
    context.strokeStyle = colour;
    context.beginPath();
    for (let nth = from; nth <= to; nth += 1) {
      if (Number.isFinite(x[nth])) context.lineTo(across(x[nth]), down(y[nth]));
    }
    context.stroke();
  }
  context.fillStyle = accent;
  if (Number.isFinite(x[at])) dot(context, across(x[at]), down(y[at]));
}
