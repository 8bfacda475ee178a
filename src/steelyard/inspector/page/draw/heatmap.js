// @ts-check
// A heat map of a matrix: blue is negative, orange is positive, the middle of the scale is zero.

import { contextOf, fitted, keepDrawn } from "./canvas.js";
import { around, cellOf, nearestCell, valueOf, windowOf } from "./cells.js";
import { followPointer } from "./drag.js";
import { element } from "./element.js";
import { legend } from "./legend.js";
import { unravelled } from "../data/place.js";
import { counted, indexText, short, whole } from "../data/text.js";
import { theme } from "./theme.js";

/** @typedef {(window: MatrixWindow | null) => void} Zoom */
/** @typedef {{ cell: number, high: number }} CellSize Pixels of a cell across and down. */
/**
 * @typedef {ReturnType<typeof partsOf> & {
 *   shape: number[],
 *   onZoom: Zoom | null,
 *   picture: Picture | null,
 *   scale: number,
 *   clipped: boolean,
 *   size: CellSize,
 *   cursor: Cell | null,
 *   dragged: { from: Cell, to: Cell } | null,
 *   entry: number | null,
 * }} MapView
 */

const [SHORTEST, LARGEST, FLAT] = [180, 22, 30];
/** A picture whose cells are square is at least this share of the width; a taller one has flat cells. */
const NARROWEST = 0.5;
/** A flat picture has at least this part of the greatest height. */
const LEAST = 0.55;
/** Cells of at least this many pixels are all drawn in one size; smaller ones fill the width. */
const EVEN = 8;

/**
 * The steps of a key, in cells.
 * @type {Record<string, [down: number, right: number]>}
 */
const STEPS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
/**
 * The window that a key zooms to; null is the whole matrix.
 * @type {Record<string, (picture: Picture, cell: Cell) => MatrixWindow | null>}
 */
const ZOOMS = {
  "+": (picture, cell) => around(picture, cell, 0.5),
  Enter: (picture, cell) => around(picture, cell, 0.5),
  "-": (picture, cell) => around(picture, cell, 2),
  0: () => null,
};

/**
 * A heat map of a weight of this shape. `onZoom(window)` is called when a part is chosen; without it nothing can be chosen.
 * `show(picture, scale)` draws a picture, `mark(at)` rings the cell of an entry.
 * @type {(options: { title: string, shape: number[], heading?: boolean, onZoom?: Zoom | null }) => HeatMap}
 */
export function heatmap({ title, shape, heading = true, onZoom = null }) {
  /** @type {MapView} */
  const map = {
    ...partsOf(title),
    shape,
    onZoom,
    picture: null,
    scale: 1,
    clipped: false,
    size: { cell: 1, high: 1 },
    cursor: null,
    dragged: null,
    entry: null,
  };
  listen(map);
  keepDrawn(map.drawing, (width) => draw(map, width));
  return {
    element: figureOf(map, heading && title),
    /** Draw a picture: the last colour stands for a magnitude of `scale`, or with `clipped` for all larger ones too. */
    show(picture, scale = picture.scale, clipped = false) {
      Object.assign(map, { picture, scale: scale || 1, clipped: clipped && scale < picture.scale, cursor: null });
      map.caption.textContent = captionOf(picture);
      map.readout.textContent = "";
      draw(map);
    },
    mark(at) {
      map.entry = at;
      draw(map);
      const cell = at !== null && map.picture && cellOf(map.picture, at);
      if (cell && map.picture) map.readout.textContent = cellText(map.picture, cell, shape);
    },
  };
}

/** @param {string} title */
function partsOf(title) {
  const canvas = element("canvas", {
    tabindex: "0",
    role: "application",
    "aria-roledescription": "heat map",
    "aria-label": `Heat map of ${title}: arrow keys go from cell to cell`,
  });
  return {
    canvas,
    drawing: element("div", { class: "drawing" }, canvas),
    base: document.createElement("canvas"),
    readout: element("p", { class: "readout", "aria-live": "polite" }),
    legend: legend(),
    caption: element("p", { class: "caption" }),
  };
}

/** @type {(map: MapView, heading: string | false) => HTMLElement} */
function figureOf({ drawing, readout, legend: { element: colours }, caption }, heading) {
  return element("figure", { class: "heatmap" }, heading && element("figcaption", {}, heading), drawing, readout, colours, caption);
}

/** @type {(map: MapView) => void} */
function listen(map) {
  const { canvas } = map;
  followPointer(canvas, {
    cellAt: (event) => cellAt(map, event),
    mayDrag: (event) => Boolean(map.onZoom && !event.button && map.picture),
    onPoint(cell, part) {
      map.dragged = part;
      pointAt(map, cell);
    },
    onPart({ from, to }) {
      map.dragged = null;
      if (map.picture) map.onZoom?.(windowOf(map.picture, from, to));
    },
  });
  canvas.addEventListener("blur", () => pointAt(map, null));
  canvas.addEventListener("dblclick", (event) => {
    const cell = cellAt(map, event);
    if (map.picture && cell) map.onZoom?.(around(map.picture, cell, 0.25));
  });
  canvas.addEventListener("keydown", (event) => onKey(map, event));
}

/** @type {(map: MapView, event: KeyboardEvent) => void} */
function onKey(map, event) {
  const { picture, cursor, entry, onZoom } = map;
  if (!picture || event.ctrlKey || event.metaKey) return;
  const [y, x] = cursor ?? (entry === null ? null : cellOf(picture, entry)) ?? [0, 0];
  if (event.key in STEPS) {
    const [down, right] = STEPS[event.key];
    pointAt(map, nearestCell(picture, y + down, x + right));
  } else if (onZoom && event.key in ZOOMS) onZoom(ZOOMS[event.key](picture, [y, x]));
  else return;
  event.preventDefault();
}

/** @type {(map: MapView, event: MouseEvent) => Cell | null} */
function cellAt({ picture, size }, event) {
  return picture && nearestCell(picture, Math.floor(event.offsetY / size.high), Math.floor(event.offsetX / size.cell));
}

/** @type {(map: MapView, cell: Cell | null) => void} */
function pointAt(map, cell) {
  map.cursor = cell;
  map.readout.textContent = cell && map.picture ? cellText(map.picture, cell, map.shape) : "";
  draw(map);
}

/** @type {(map: MapView, width?: number) => void} */
function draw(map, width = map.drawing.clientWidth) {
  const { picture, scale, base, entry, cursor, dragged } = map;
  if (!picture || !width) return;
  const size = (map.size = sizeOf(picture, width, tallestOf(map.drawing)));
  paint(base, picture, scale);
  const context = fitted(map.canvas, size.cell * picture.width, size.high * picture.height);
  context.imageSmoothingEnabled = false;
  context.drawImage(base, 0, 0, size.cell * picture.width, size.high * picture.height);
  if (entry !== null) ring(context, cellOf(picture, entry), size, 3);
  if (cursor) ring(context, cursor, size, 1.5);
  if (dragged) boxed(context, dragged, size);
  map.legend.draw(scale, picture, map.clipped);
}

/** @type {(picture: Picture, cell: Cell, shape: number[]) => string} */
function cellText(picture, [y, x], shape) {
  const [top, left, bottom, right] = windowOf(picture, [y, x], [y, x]);
  const value = valueOf(picture, y, x);
  const rounded = picture.cells instanceof Int8Array && value !== 0 ? "about " : "";
  const shownValue = Number.isNaN(value) ? "not finite" : rounded + short(value);
  if (bottom - top === 1 && right - left === 1) return `${indexText(unravelled(top * picture.columns + left, shape))}  ${shownValue}`;
  /** @type {(word: string, from: number, to: number) => string} */
  const ends = (word, from, to) => (to - from === 1 ? `${word} ${whole(from)}` : `${word}s ${whole(from)}\u2013${whole(to - 1)}`);
  return `${ends("row", top, bottom)}, ${ends("column", left, right)}  ${shownValue}, the largest of ${whole((bottom - top) * (right - left))}`;
}

/** @type {(picture: Picture) => string} */
function captionOf(picture) {
  const [top, left, bottom, right] = picture.window;
  const part = bottom - top < picture.rows || right - left < picture.columns;
  const where = part ? `rows ${whole(top)}\u2013${whole(bottom - 1)}, columns ${whole(left)}\u2013${whole(right - 1)} of ` : "";
  const steps = picture.cells instanceof Int8Array ? "; 127 shades either way" : "";
  return `${where}${counted(picture.rows, "row")} \u00d7 ${counted(picture.columns, "column")}; ${picture.caption}${steps}`;
}

/**
 * The greatest height of a drawing, which the style sheet has: a part of the window.
 * @type {(drawing: Element) => number}
 */
function tallestOf(drawing) {
  return Number.parseFloat(getComputedStyle(drawing).maxHeight) || 420;
}

/**
 * Cells are square, unless the picture would be too flat, too narrow or too high.
 * @type {(picture: Picture, width: number, tallest: number) => CellSize}
 */
function sizeOf(picture, width, tallest) {
  const density = devicePixelRatio || 1;
  /** @type {(length: number) => number} */
  const exact = (length) => Math.max(1, Math.floor(length * density)) / density;
  const largest = Math.max(LARGEST, tallest / 9);
  const narrowed = Math.max(tallest / picture.height, (NARROWEST * width) / picture.width);
  const fitting = Math.min(width / picture.width, largest, picture.height === 1 ? Infinity : narrowed);
  const cell = fitting < EVEN ? fitting : exact(fitting);
  const wanted = Math.max(cell, Math.min(largest, Math.max(SHORTEST, tallest * LEAST) / picture.height));
  const tall = picture.height === 1 ? FLAT : Math.min(wanted, tallest / picture.height);
  return { cell, high: tall < EVEN ? tall : exact(tall) };
}

/** @type {(canvas: HTMLCanvasElement, picture: Picture, scale: number) => void} */
function paint(canvas, picture, scale) {
  [canvas.width, canvas.height] = [Math.max(1, picture.width), Math.max(1, picture.height)];
  const context = contextOf(canvas);
  const image = context.createImageData(canvas.width, canvas.height);
  const { scale: colours, accentBytes } = theme();
  for (let nth = 0; nth < picture.width * picture.height; nth += 1) {
    const value = valueOf(picture, 0, nth);
    const at = (Math.round(Math.max(-1, Math.min(1, value / scale)) * 127) + 127) * 3;
    for (let part = 0; part < 3; part += 1)
      image.data[nth * 4 + part] = Number.isNaN(value) ? accentBytes[part] : colours[at + part];
    image.data[nth * 4 + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** @type {(context: CanvasRenderingContext2D, cell: Cell | null, size: CellSize, width: number) => void} */
function ring(context, cell, { cell: wide, high }, width) {
  if (!cell) return;
  const grow = Math.max(0, (9 - Math.min(wide, high)) / 2);
  const [left, top] = [cell[1] * wide - grow, cell[0] * high - grow];
  const { panel, ink } = theme();
  /** @type {[colour: string, thick: number][]} */
  const lines = [
    [panel, width + 2],
    [ink, width],
  ];
  for (const [colour, thick] of lines) {
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.strokeRect(left, top, wide + 2 * grow, high + 2 * grow);
  }
}

/** @type {(context: CanvasRenderingContext2D, part: { from: Cell, to: Cell }, size: CellSize) => void} */
function boxed(context, { from, to }, { cell, high }) {
  context.strokeStyle = theme().ink;
  context.lineWidth = 1.5;
  const [x, y] = [Math.min(from[1], to[1]), Math.min(from[0], to[0])];
  context.strokeRect(x * cell, y * high, (Math.abs(to[1] - from[1]) + 1) * cell, (Math.abs(to[0] - from[0]) + 1) * high);
}
