// @ts-check
// A canvas in the resolution of the screen, which is drawn again when its size or the colours change.

import { onTheme } from "./theme.js";

/**
 * Set the size of a canvas in CSS pixels and return its context, scaled so that one unit is one CSS pixel.
 * @type {(canvas: HTMLCanvasElement, width: number, height: number) => CanvasRenderingContext2D}
 */
export function fitted(canvas, width, height) {
  const density = devicePixelRatio || 1;
  const [across, down] = [Math.round(width * density), Math.round(height * density)];
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = contextOf(canvas);
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/**
 * The context of a canvas.
 * @type {(canvas: HTMLCanvasElement) => CanvasRenderingContext2D}
 */
export function contextOf(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser does not support canvas");
  return context;
}

/**
 * Draw another canvas of the same size, pixel by pixel.
 * @type {(context: CanvasRenderingContext2D, canvas: HTMLCanvasElement) => void}
 */
export function copied(context, canvas) {
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.drawImage(canvas, 0, 0);
  context.restore();
}

/** @type {Map<Element, (width: number) => void>} */
const DRAWN = new Map();
const SIZES = new ResizeObserver((entries) => entries.forEach((entry) => again(entry.target)));
onTheme(() => DRAWN.forEach((_, holder) => again(holder)));
// A drawing may be as high as the window allows, which no change of its own size shows.
addEventListener("resize", () => DRAWN.forEach((_, holder) => again(holder)));

/**
 * Call `draw(width)` now and whenever the width of the holder or the colours change, until the holder leaves the page.
 * @type {(holder: Element, draw: (width: number) => void) => void}
 */
export function keepDrawn(holder, draw) {
  DRAWN.set(holder, draw);
  SIZES.observe(holder);
}

/** @type {(holder: Element) => void} */
function again(holder) {
  if (!holder.isConnected) {
    DRAWN.delete(holder);
    SIZES.unobserve(holder);
    return;
  }
  const width = Math.floor(holder.clientWidth);
  if (width > 0) DRAWN.get(holder)?.(width);
}

/** The font of the labels in pictures. */
export const FONT = '11px system-ui, -apple-system, "Segoe UI", sans-serif';
