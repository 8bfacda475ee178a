// The filters of a convolution as small pictures.

import { fitted, keepDrawn } from "./canvas.js";
import { element } from "./element.js";
import { short } from "./text.js";
import { theme } from "./theme.js";

const GAP = 4;

/** A figure of the filters of a weight. */
export function filters(found, name = "") {
  const shown = found.units.length;
  const canvas = element("canvas", { tabindex: "0", role: "img", "aria-label": `${shown} filters` });
  const drawing = element("div", { class: "drawing" }, canvas);
  const readout = element("p", { class: "readout", "aria-live": "polite" });
  let layout = null;
  let at = -1;

  function redraw(width = canvas.clientWidth) {
    layout = layoutOf(found, width);
    const context = fitted(canvas, width, layout.rows * (layout.high + GAP));
    for (let nth = 0; nth < shown; nth += 1) drawFilter(context, found, nth, layout);
    if (at < 0) return;
    context.strokeStyle = theme().accent;
    context.lineWidth = 2;
    context.strokeRect(
      (at % layout.across) * (layout.wide + GAP) + 1,
      Math.floor(at / layout.across) * (layout.high + GAP) + 1,
      layout.wide - 2,
      layout.high - 2,
    );
  }

  function pointAt(nth) {
    at = nth;
    readout.textContent = nth < 0 ? "" : `${found.units[nth]}: ${rangeText(found, nth)}`;
    redraw();
  }

  canvas.addEventListener("pointermove", (event) => {
    const [column, row] = [Math.floor(event.offsetX / (layout.wide + GAP)), Math.floor(event.offsetY / (layout.high + GAP))];
    const nth = row * layout.across + column;
    pointAt(column < layout.across && nth < shown ? nth : -1);
  });
  canvas.addEventListener("pointerleave", () => pointAt(-1));
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: layout.across, ArrowUp: -layout.across, Home: -shown, End: shown };
    if (!(event.key in steps)) return;
    pointAt(Math.max(0, Math.min(shown - 1, at + steps[event.key])));
    event.preventDefault();
  });
  keepDrawn(drawing, redraw);
  return element("figure", { class: "filters" }, drawing, readout, element("p", { class: "caption" }, captionOf(found, name)));
}

function captionOf(found, name) {
  const colours =
    found.colours === 3
      ? "red, green and blue as they are read, grey is zero"
      : `blue is negative, orange positive, to \u00b1${short(found.scale)}`;
  const first =
    found.units.length < found.count ? `the first ${found.units.length} of ${found.count} filters` : `${found.count} filters`;
  return `${name ? `${name}: ` : ""}${first} of ${found.height} \u00d7 ${found.width}; ${colours}${found.guessed ? "; the axes are guessed from the shape" : ""}`;
}

function layoutOf(found, width) {
  const cell = Math.max(2, Math.min(10, Math.floor(44 / Math.max(found.width, found.height))));
  const [wide, high] = [found.width * cell, found.height * cell];
  const across = Math.max(1, Math.floor((width + GAP) / (wide + GAP)));
  return { cell, wide, high, across, rows: Math.ceil(found.units.length / across) };
}

function drawFilter(context, found, nth, { cell, wide, high, across }) {
  const [left, top] = [(nth % across) * (wide + GAP), Math.floor(nth / across) * (high + GAP)];
  const { scale, accent } = theme();
  const size = found.height * found.width * found.colours;
  for (let place = 0; place < found.height * found.width; place += 1) {
    const start = nth * size + place * found.colours;
    const parts = found.cells.subarray(start, start + found.colours);
    if (parts.includes(-128)) context.fillStyle = accent;
    else if (found.colours === 3) context.fillStyle = `rgb(${Array.from(parts, (part) => 128 + part).join(" ")})`;
    else context.fillStyle = `rgb(${scale.slice((parts[0] + 127) * 3, (parts[0] + 128) * 3).join(" ")})`;
    context.fillRect(left + (place % found.width) * cell, top + Math.floor(place / found.width) * cell, cell, cell);
  }
}

function rangeText(found, nth) {
  const size = found.height * found.width * found.colours;
  const cells = found.cells.subarray(nth * size, (nth + 1) * size).filter((cell) => cell !== -128);
  if (!cells.length) return "not finite";
  const value = (cell) => short((cell / 127) * found.scale);
  return `about ${value(Math.min(...cells))} to ${value(Math.max(...cells))}`;
}
