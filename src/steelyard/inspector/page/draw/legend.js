// @ts-check
// The legend of a heat map: the numbers behind its colours.

import { fitted } from "./canvas.js";
import { hasFinite, hasLost } from "./cells.js";
import { element } from "./element.js";
import { short } from "../data/text.js";
import { colourOf } from "./theme.js";

const [WIDTH, HEIGHT] = [120, 10];

/**
 * A legend; `draw(scale, picture, clipped)` writes its ends. With `clipped`, larger numbers share the last colour.
 * @type {() => { element: HTMLElement, draw(scale: number, picture: Picture, clipped: boolean): void }}
 */
export function legend() {
  const canvas = element("canvas", { "aria-hidden": "true" });
  const [low, high] = [element("span", {}), element("span", {})];
  const lost = element("span", { class: "lost", hidden: true }, element("i", {}), "not finite");
  return {
    element: element("div", { class: "legend" }, low, canvas, high, lost),
    draw(scale, picture, clipped) {
      drawScale(canvas);
      low.textContent = (clipped ? "\u2264 " : "") + short(-scale);
      high.textContent = (clipped ? "\u2265 " : "") + short(scale);
      for (const part of [low, canvas, high]) part.hidden = !hasFinite(picture);
      lost.hidden = !hasLost(picture);
    },
  };
}

/** @type {(canvas: HTMLCanvasElement) => void} */
function drawScale(canvas) {
  const context = fitted(canvas, WIDTH, HEIGHT);
  const middle = (WIDTH - 1) / 2;
  for (let nth = 0; nth < WIDTH; nth += 1) {
    context.fillStyle = colourOf((nth - middle) / middle);
    context.fillRect(nth, 0, 1.5, HEIGHT);
  }
}
