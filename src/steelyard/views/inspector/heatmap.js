// A matrix as a picture of few cells: blue is negative, orange positive, the middle of the scale is zero.

import { fitted, keepDrawn } from "./canvas.js";
import { element } from "./element.js";
import { unravelled } from "./place.js";
import { counted, indexText, short, whole } from "./text.js";
import { colourOf, theme } from "./theme.js";

const [TALLEST, SHORTEST, LARGEST, FLAT] = [420, 120, 22, 30];
/** Pixels from which cells are all drawn of one size; smaller ones fill the width. */
const EVEN = 8;

/**
 * A heat map of weights of a shape. `onZoom(window)` is called for a part that is chosen, if it can be zoomed.
 * show(picture, scale) draws, mark(at) rings the cell of an entry.
 */
export function heatmap({ title, shape, heading = true, onZoom = null }) {
  const canvas = element("canvas", {
    tabindex: "0",
    role: "application",
    "aria-roledescription": "heat map",
    "aria-label": `Heat map of ${title}: arrow keys go from cell to cell`,
  });
  const drawing = element("div", { class: "drawing" }, canvas);
  const readout = element("p", { class: "readout", "aria-live": "polite" });
  const legend = legendElement();
  const caption = element("p", { class: "caption" });
  const base = document.createElement("canvas");
  let picture = null;
  let scale = 1;
  let size = null;
  let cursor = null;
  let dragged = null;
  let entry = null;

  function redraw(width = drawing.clientWidth) {
    if (!picture || !width) return;
    size = sizeOf(picture, width);
    paint(base, picture, scale);
    const context = fitted(canvas, size.cell * picture.width, size.high * picture.height);
    context.imageSmoothingEnabled = false;
    context.drawImage(base, 0, 0, size.cell * picture.width, size.high * picture.height);
    if (entry !== null) ring(context, cellOf(picture, entry), size, 3);
    if (cursor) ring(context, cursor, size, 1.5);
    if (dragged?.to) boxed(context, dragged, size);
    legend.draw(scale, picture);
  }

  function pointAt(cell) {
    cursor = cell;
    readout.textContent = cell ? cellText(picture, cell, shape) : "";
    redraw();
  }

  function cellAt(event) {
    const cell = [Math.floor(event.offsetY / size.high), Math.floor(event.offsetX / size.cell)];
    return [Math.max(0, Math.min(picture.height - 1, cell[0])), Math.max(0, Math.min(picture.width - 1, cell[1]))];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!onZoom || event.button || !picture) return;
    dragged = { from: cellAt(event), to: null };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!picture) return;
    const cell = cellAt(event);
    if (dragged && (dragged.to || cell.join() !== dragged.from.join())) dragged.to = cell;
    pointAt(cell);
  });
  canvas.addEventListener("pointerup", () => {
    const chosen = dragged;
    dragged = null;
    if (chosen?.to) onZoom(windowOf(picture, chosen.from, chosen.to));
  });
  canvas.addEventListener("pointerleave", () => !dragged && pointAt(null));
  canvas.addEventListener("blur", () => pointAt(null));
  canvas.addEventListener("dblclick", (event) => onZoom?.(around(picture, cellAt(event), 0.25)));
  canvas.addEventListener("keydown", (event) => {
    if (!picture || event.ctrlKey || event.metaKey) return;
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    const [y, x] = cursor ?? (entry === null ? null : cellOf(picture, entry)) ?? [0, 0];
    if (event.key in steps)
      pointAt([
        Math.max(0, Math.min(picture.height - 1, y + steps[event.key][0])),
        Math.max(0, Math.min(picture.width - 1, x + steps[event.key][1])),
      ]);
    else if (onZoom && (event.key === "+" || event.key === "Enter")) onZoom(around(picture, [y, x], 0.5));
    else if (onZoom && event.key === "-") onZoom(around(picture, [y, x], 2));
    else if (onZoom && event.key === "0") onZoom(null);
    else return;
    event.preventDefault();
  });
  keepDrawn(drawing, redraw);

  return {
    element: element(
      "figure",
      { class: "heatmap" },
      heading && element("h4", {}, title),
      drawing,
      readout,
      legend.element,
      caption,
    ),
    /** Draw a picture in colours that reach to a magnitude; with `clipped`, larger ones have the last colour. */
    show(next, to = next.scale, clipped = false) {
      [picture, scale, cursor] = [next, to || 1, null];
      legend.clip(clipped);
      caption.textContent = captionOf(next);
      readout.textContent = "";
      redraw();
    },
    mark(at) {
      entry = at;
      redraw();
      if (at !== null && picture && cellOf(picture, at)) readout.textContent = cellText(picture, cellOf(picture, at), shape);
    },
    cell: (y, x) => ({ value: valueOf(picture, y, x), colour: colourOf(valueOf(picture, y, x) / scale), ...size }),
  };
}

/** The window twice as large, half as large and so on about a cell. */
export function around(picture, [y, x], times) {
  const [top, left, bottom, right] = picture.window;
  const cut = (from, to, middle, whole) => {
    const length = Math.max(Math.min(whole, 8), Math.min(whole, Math.round((to - from) * times)));
    const start = Math.max(0, Math.min(whole - length, Math.round(middle - length / 2)));
    return [start, start + length];
  };
  const [up, down] = cut(top, bottom, top + (y + 0.5) * picture.down, picture.rows);
  const [near, far] = cut(left, right, left + (x + 0.5) * picture.across, picture.columns);
  return [up, near, down, far];
}

/** The magnitude below which 99 of 100 cells lie. */
export function usual(picture) {
  const sizes = Float64Array.from({ length: picture.width * picture.height }, (_, nth) => Math.abs(valueOf(picture, 0, nth)));
  const known = sizes.filter((size) => !Number.isNaN(size)).sort();
  return known.length ? known[Math.floor((known.length - 1) * 0.99)] || picture.scale : 0;
}

/** The number in a cell, NaN where it is not finite. */
export function valueOf(picture, y, x) {
  const cell = picture.cells[y * picture.width + x];
  if (!(picture.cells instanceof Int8Array)) return cell;
  return cell === -128 ? Number.NaN : (cell / 127) * picture.scale;
}

function cellOf(picture, at) {
  const [top, left, bottom, right] = picture.window;
  const [row, column] = [Math.floor(at / picture.columns), at % picture.columns];
  if (row < top || row >= bottom || column < left || column >= right) return null;
  return [Math.floor((row - top) / picture.down), Math.floor((column - left) / picture.across)];
}

function windowOf(picture, [y0, x0], [y1, x1]) {
  const [top, left, bottom, right] = picture.window;
  return [
    top + Math.min(y0, y1) * picture.down,
    left + Math.min(x0, x1) * picture.across,
    Math.min(bottom, top + (Math.max(y0, y1) + 1) * picture.down),
    Math.min(right, left + (Math.max(x0, x1) + 1) * picture.across),
  ];
}

function cellText(picture, [y, x], shape) {
  const [top, left, bottom, right] = windowOf(picture, [y, x], [y, x]);
  const value = valueOf(picture, y, x);
  const rounded = picture.cells instanceof Int8Array && value !== 0 ? "about " : "";
  const told = Number.isNaN(value) ? "not finite" : rounded + short(value);
  if (bottom - top === 1 && right - left === 1) return `${indexText(unravelled(top * picture.columns + left, shape))}  ${told}`;
  const ends = (word, from, to) => (to - from === 1 ? `${word} ${whole(from)}` : `${word}s ${whole(from)}\u2013${whole(to - 1)}`);
  return `${ends("row", top, bottom)}, ${ends("column", left, right)}  ${told}, the largest of ${whole((bottom - top) * (right - left))}`;
}

function captionOf(picture) {
  const [top, left, bottom, right] = picture.window;
  const part = bottom - top < picture.rows || right - left < picture.columns;
  const where = part ? `rows ${whole(top)}\u2013${whole(bottom - 1)}, columns ${whole(left)}\u2013${whole(right - 1)} of ` : "";
  const steps = picture.cells instanceof Int8Array ? "; 127 shades either way" : "";
  return `${where}${counted(picture.rows, "row")} \u00d7 ${counted(picture.columns, "column")}; ${picture.caption}${steps}`;
}

function sizeOf(picture, width) {
  const density = devicePixelRatio || 1;
  const exact = (length) => Math.max(1, Math.floor(length * density)) / density;
  const fitting = Math.min(width / picture.width, LARGEST);
  const cell = fitting < EVEN ? fitting : exact(fitting);
  const wanted = Math.max(cell, Math.min(LARGEST, SHORTEST / picture.height));
  const tall = picture.height === 1 ? FLAT : Math.min(wanted, TALLEST / picture.height);
  return { cell, high: tall < EVEN ? tall : exact(tall) };
}

function paint(canvas, picture, scale) {
  [canvas.width, canvas.height] = [Math.max(1, picture.width), Math.max(1, picture.height)];
  const context = canvas.getContext("2d");
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

function ring(context, cell, { cell: wide, high }, width) {
  if (!cell) return;
  const grow = Math.max(0, (9 - Math.min(wide, high)) / 2);
  const [left, top] = [cell[1] * wide - grow, cell[0] * high - grow];
  const { panel, ink } = theme();
  for (const [colour, thick] of [
    [panel, width + 2],
    [ink, width],
  ]) {
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.strokeRect(left, top, wide + 2 * grow, high + 2 * grow);
  }
}

function boxed(context, { from, to }, { cell, high }) {
  context.strokeStyle = theme().ink;
  context.lineWidth = 1.5;
  const [x, y] = [Math.min(from[1], to[1]), Math.min(from[0], to[0])];
  context.strokeRect(x * cell, y * high, (Math.abs(to[1] - from[1]) + 1) * cell, (Math.abs(to[0] - from[0]) + 1) * high);
}

function legendElement() {
  const canvas = element("canvas", { "aria-hidden": "true" });
  const [low, high] = [element("span", {}), element("span", {})];
  let clipped = false;
  const lost = element("span", { class: "lost", hidden: true }, element("i", {}), "not finite");
  function draw(scale, picture) {
    const context = fitted(canvas, 120, 10);
    for (let nth = 0; nth < 120; nth += 1) {
      context.fillStyle = colourOf((nth - 59.5) / 59.5);
      context.fillRect(nth, 0, 1.5, 10);
    }
    [low.textContent, high.textContent] = [(clipped ? "\u2264 " : "") + short(-scale), (clipped ? "\u2265 " : "") + short(scale)];
    lost.hidden = picture.cells instanceof Int8Array ? !picture.cells.includes(-128) : !picture.cells.some(Number.isNaN);
  }
  return { element: element("div", { class: "legend" }, low, canvas, high, lost), draw, clip: (on) => (clipped = on) };
}
