// @ts-check
// The singular values of a weight as a line, with the largest that random weights of this size would have.

import { FONT, fitted, keepDrawn } from "./canvas.js";
import { element } from "./element.js";
import { short, whole } from "../data/text.js";
import { theme } from "./theme.js";

/** @typedef {(value: number) => number} Scale */

const [LEFT, RIGHT, TOP, PLOT, BOTTOM] = [48, 12, 12, 170, 22];

/**
 * A figure of the spectra of one or two sides, null for a side without a spectrum.
 * @type {(spectra: (Spectrum | null)[], names: string[]) => HTMLElement}
 */
export function spectrum(spectra, names) {
  const known = spectra.flatMap((one) => one ?? []);
  const canvas = element("canvas", {
    role: "img",
    "aria-label": `Singular values, the largest ${short(known[0].spectral_norm)}`,
  });
  const drawing = element("div", { class: "drawing" }, canvas);
  const readout = element("p", { class: "readout" }, known.length > 1 ? `${names[0]} in ink, ${names[1]} in colour.` : "");
  const most = Math.max(...known.flatMap((one) => [one.spectral_norm, one.edge])) || 1;
  const last = Math.max(...known.map((one) => one.known));

  keepDrawn(drawing, (width) => {
    const context = fitted(canvas, width, TOP + PLOT + BOTTOM);
    /** @type {Scale} */
    const x = (rank) => LEFT + ((rank - 1) / Math.max(last - 1, 1)) * (width - LEFT - RIGHT);
    /** @type {Scale} */
    const y = (value) => TOP + PLOT - (value / most) * PLOT;
    drawAxes(context, width, most, last, y);
    spectra.forEach((one, side) => {
      if (one) drawValues(context, one, x, y, side);
      if (!side && one && one.edge > 0) drawEdge(context, one.edge, y, width);
    });
  });
  canvas.addEventListener("pointermove", (event) => {
    const share = (event.offsetX - LEFT) / (canvas.clientWidth - LEFT - RIGHT);
    readout.textContent = spectra
      .map((one, side) => one && valueText(one, share * (last - 1), names, side))
      .filter(Boolean)
      .join("  ·  ");
  });
  return element(
    "figure",
    { class: "spectrum" },
    drawing,
    readout,
    ...known.map((one) => words(one, known.length > 1 ? names[spectra.indexOf(one)] : "")),
  );
}

/**
 * The rank, from 0, of the nth value that was sent; the server sends evenly spaced ranks.
 * @type {(one: Spectrum, nth: number) => number}
 */
function rankOf(one, nth) {
  return one.values.length > 1 ? Math.round((nth * (one.known - 1)) / (one.values.length - 1)) : 0;
}

/** @type {(context: CanvasRenderingContext2D, width: number, most: number, last: number, y: Scale) => void} */
function drawAxes(context, width, most, last, y) {
  const { muted, line } = theme();
  context.font = FONT;
  context.fillStyle = line;
  context.fillRect(LEFT, TOP + PLOT, width - LEFT - RIGHT, 1);
  context.fillStyle = muted;
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.fillText(short(most), LEFT - 6, y(most) + 2);
  context.fillText("0", LEFT - 6, y(0));
  context.textBaseline = "alphabetic";
  context.textAlign = "left";
  context.fillText("1st", LEFT, TOP + PLOT + 15);
  context.textAlign = "right";
  context.fillText(`${whole(last)} values`, width - RIGHT, TOP + PLOT + 15);
}

/** @type {(context: CanvasRenderingContext2D, one: Spectrum, x: Scale, y: Scale, side: number) => void} */
function drawValues(context, one, x, y, side) {
  const { ink, accent } = theme();
  const colour = side ? accent : ink;
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.beginPath();
  one.values.forEach((value, nth) => context.lineTo(x(rankOf(one, nth) + 1), y(value)));
  context.stroke();
  context.fillStyle = colour;
  const few = one.values.length <= 48;
  one.values.forEach((value, nth) => {
    const size = value > one.edge ? 2.6 : few ? 1.8 : 0;
    context.beginPath();
    context.arc(x(rankOf(one, nth) + 1), y(value), size, 0, 7);
    if (size) context.fill();
  });
}

/**
 * A line at the largest value that random weights would have.
 * @type {(context: CanvasRenderingContext2D, edge: number, y: Scale, width: number) => void}
 */
function drawEdge(context, edge, y, width) {
  const { muted } = theme();
  context.setLineDash([4, 3]);
  context.lineWidth = 1;
  context.strokeStyle = muted;
  context.beginPath();
  context.moveTo(LEFT, Math.round(y(edge)) + 0.5);
  context.lineTo(width - RIGHT, Math.round(y(edge)) + 0.5);
  context.stroke();
  context.setLineDash([]);
  context.fillStyle = muted;
  context.textAlign = "right";
  context.fillText("edge of random weights", width - RIGHT, y(edge) - 5);
}

/** @type {(one: Spectrum, at: number, names: string[], side: number) => string} */
function valueText(one, at, names, side) {
  const nth = Math.round((at / Math.max(one.known - 1, 1)) * (one.values.length - 1));
  if (nth < 0 || nth >= one.values.length) return "";
  return `${names.length > 1 ? `${names[side]}, ` : ""}value ${whole(rankOf(one, nth) + 1)}: ${short(one.values[nth])}`;
}

/** @type {(one: Spectrum, name: string) => HTMLElement} */
function words(one, name) {
  const facts = [
    `${whole(one.beyond)} of ${whole(one.known)} beyond the Marchenko\u2013Pastur edge ${short(one.edge)}`,
    `spectral norm ${short(one.spectral_norm)}`,
    `stable rank ${short(one.stable_rank)}`,
    one.effective_rank === null || one.effective_rank === undefined ? "" : `effective rank ${short(one.effective_rank)}`,
    one.rank === null || one.rank === undefined ? "" : `rank ${whole(one.rank)} of ${whole(Math.min(...one.shape))}`,
    `as ${one.shape.map(whole).join(" \u00d7 ")}, ${one.method}${one.error ? `, to within ${short(one.error)}` : ""}`,
  ];
  return element("p", { class: "caption" }, (name ? `${name}: ` : "") + facts.filter(Boolean).join(" · "));
}
