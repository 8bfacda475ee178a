// @ts-check
// A view of the net: the distribution of each weight on one axis, from left to right in the order of the net.

import { keepDrawn } from "../draw/canvas.js";
import { element } from "../draw/element.js";
import { legendOfRoles } from "../draw/roles.js";
import { drawMarks, drawStrip, rowAt, stripOf } from "../draw/strip.js";
import { shapeText, short } from "../data/text.js";

/**
 * @typedef {{
 *   index: Index,
 *   strip: import("../draw/strip.js").Strip,
 *   slider: HTMLElement,
 *   say(text: string): void,
 * }} DistributionsView
 */

/** The weights of a report of which all have details. */
const DETAILED = 2000;
/**
 * The step of a key, in rows.
 * @type {Record<string, (last: number) => number>}
 */
const STEPS = {
  ArrowRight: () => 1,
  ArrowUp: () => 1,
  ArrowLeft: () => -1,
  ArrowDown: () => -1,
  PageUp: (last) => Math.ceil(last / 20),
  PageDown: (last) => -Math.ceil(last / 20),
  Home: (last) => -last,
  End: (last) => last,
};
/** Milliseconds during which new statistics are collected before the strip is drawn again. */
const PAUSE = 250;

/**
 * The distributions of a net.
 * @type {(net: Net) => NetView}
 */
export function distributions({ index, root, onOpen, say }) {
  const strip = stripOf(index, root);
  const view = { index, strip, slider: sliderOf(index, strip.canvas), say };
  let [waiting, frame] = [false, 0];
  listen(view, onOpen);
  showSummary(view, -1);
  keepDrawn(view.slider, (width) => {
    strip.width = width;
    drawStrip(strip);
  });
  return {
    element: view.slider,
    legend: legendOfRoles(index),
    focus: () => view.slider.focus(),
    open(row) {
      strip.open = row;
      showSummary(view, row);
      if (strip.width) drawMarks(strip);
    },
    /** Dim the weights that the table does not show. */
    show(rows) {
      const dimmed = new Uint8Array(index.count).fill(1);
      rows.forEach((row) => (dimmed[row] = 0));
      strip.dimmed = rows.length === index.count ? null : dimmed;
      cancelAnimationFrame(frame);
      if (strip.width) frame = requestAnimationFrame(() => drawStrip(strip)); // else it is drawn when it has a place
    },
    refresh() {
      if (waiting || !strip.width) return; // it is drawn when it has a place
      waiting = true;
      setTimeout(() => ((waiting = false), drawStrip(strip)), PAUSE);
    },
  };
}

/** @type {(index: Index, canvas: HTMLCanvasElement) => HTMLElement} */
function sliderOf(index, canvas) {
  return element(
    "div",
    {
      class: "strip",
      role: "slider",
      tabindex: "0",
      "aria-label": "Overview of all weights",
      "aria-valuemin": 0,
      "aria-valuemax": Math.max(0, index.count - 1),
      "aria-valuenow": 0,
    },
    canvas,
  );
}

/** @type {(view: DistributionsView, onOpen: (row: number) => void) => void} */
function listen(view, onOpen) {
  const { index, strip, slider } = view;
  slider.addEventListener("pointermove", (event) => pointAt(view, rowAt(strip, event.clientX)));
  slider.addEventListener("pointerleave", () => pointAt(view, -1));
  slider.addEventListener("click", (event) => index.count && onOpen(rowAt(strip, event.clientX)));
  slider.addEventListener(
    "focus",
    () => strip.at < 0 && slider.matches(":focus-visible") && pointAt(view, Math.max(strip.open, 0)),
  );
  slider.addEventListener("blur", () => pointAt(view, -1));
  slider.addEventListener("keydown", (event) => {
    const last = index.count - 1;
    if (event.key in STEPS) pointAt(view, Math.max(0, Math.min(last, Math.max(strip.at, 0) + STEPS[event.key](last))));
    else if ((event.key === "Enter" || event.key === " ") && strip.at >= 0) onOpen(strip.at);
    else return;
    event.preventDefault();
  });
}

/** @type {(view: DistributionsView, row: number) => void} */
function pointAt(view, row) {
  const { index, strip, slider } = view;
  strip.at = row;
  showSummary(view, row < 0 ? strip.open : row);
  if (row >= 0) {
    slider.setAttribute("aria-valuenow", String(row));
    slider.setAttribute("aria-valuetext", index.shown[row]);
  }
  drawMarks(strip);
}

/** @type {(view: DistributionsView, row: number) => void} */
function showSummary({ index, say }, row) {
  say(row < 0 ? hint(index) : `${index.shown[row]}  ·  ${shapeText(index.columns.shape[row])}${rangeText(index, row)}`);
}

/** @type {(index: Index) => string} */
function hint(index) {
  const each = index.live || index.count <= DETAILED;
  const what = each ? "the distribution of each weight" : "the distribution of the largest weights, range and deviation of the others";
  return `${what}, in the order of the net, on one axis${index.two ? "; below, its relative change" : ""}`;
}

/** @type {(index: Index, row: number) => string} */
function rangeText(index, row) {
  const [low, high] = [index.columns.min[row], index.columns.max[row]];
  return low === null ? "" : `  ·  ${short(low)} … ${short(high)}`;
}
