// @ts-check
// A canvas in the resolution of the screen, which is drawn again when its size or the colours change.

import { onTheme } from "./theme.js";

/** @type {CanvasRenderingContext2D | null} */
let measuring = null;

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
 * The width of a text in the font of the page.
 * @type {(text: string) => number}
 */
export function widthOf(text) {
  measuring ??= contextOf(document.createElement("canvas"));
  const { fontSize, fontFamily } = getComputedStyle(document.body);
  measuring.font = `${fontSize} ${fontFamily}`;
  return measuring.measureText(text).width;
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

// A holder that is not in the page may come back, such as the panel of another tab, so none is forgotten while anything has it.
/** @type {WeakMap<Element, { draw: (width: number) => void, width: number }>} */
const DRAWN = new WeakMap();
/** @type {Set<WeakRef<Element>>} */
const HOLDERS = new Set();
// A drawing gives its holder a height, which is no reason to draw it again.
const SIZES = new ResizeObserver((entries) => entries.forEach(({ target }) => again(target, false)));
onTheme(drawAll);
// A drawing may be as high as the window allows, which no change of its own size shows.
addEventListener("resize", drawAll);

/**
 * Call `draw(width)` now and whenever the width of the holder, the size of the window or the colours change.
 * @type {(holder: Element, draw: (width: number) => void) => void}
 */
export function keepDrawn(holder, draw) {
  DRAWN.set(holder, { draw, width: 0 });
  HOLDERS.add(new WeakRef(holder));
  SIZES.observe(holder);
}

/** @type {() => void} */
function drawAll() {
  for (const reference of HOLDERS) {
    const holder = reference.deref();
    if (holder) again(holder, true);
    else HOLDERS.delete(reference);
  }
}

/**
 * Draw if the width is another than before; with `force`, also if it is the same. What has no width is drawn once it has one.
 * @type {(holder: Element, force: boolean) => void}
 */
function again(holder, force) {
  const held = DRAWN.get(holder);
  if (!held) return;
  const [before, width] = [held.width, Math.floor(holder.clientWidth)];
  held.width = width;
  if (width > 0 && (force || width !== before)) held.draw(width);
}

/** The font of the labels in pictures. */
export const FONT = '11px system-ui, -apple-system, "Segoe UI", sans-serif';
