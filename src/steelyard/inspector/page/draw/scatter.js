// @ts-check
// The rows of an embedding as points; those that follow one another in the embedding have similar colours.

import { fitted, keepDrawn } from "./canvas.js";
import { element } from "./element.js";
import { percent, short, whole } from "../data/text.js";
import { theme } from "./theme.js";

/** @typedef {{ x: number, y: number }} Spot */

/** Codes of the records, and pixels around the points. */
const [CODES, EDGE] = [65534, 12];
/** Pixels within which the pointer finds a point. */
const NEAR = 14;
/** The first and the last row in red, green and blue; both can be seen on light and on dark paper. */
const ENDS = [
  [43, 108, 176],
  [214, 106, 35],
];

/**
 * A figure of points; arrow keys go from row to row.
 * @type {(found: PointsRecord) => HTMLElement}
 */
export function scatter(found) {
  const count = found.rows.length;
  const canvas = element("canvas", { tabindex: "0", role: "img", "aria-label": captionOf(found) });
  const drawing = element("div", { class: "drawing" }, canvas);
  const readout = element("p", { class: "readout", "aria-live": "polite" });
  /** @type {Spot[]} */
  let spots = [];
  let at = -1;

  /** @type {(width: number) => void} */
  function draw(width) {
    const height = Math.min(width, Math.max(220, innerHeight - 420));
    const context = fitted(canvas, width, height);
    spots = spotsOf(found, width, height);
    drawAxes(context, width, height);
    spots.forEach(({ x, y }, nth) => {
      context.fillStyle = colourOf(found.rows[nth] / Math.max(found.count - 1, 1));
      context.fillRect(x - 1.5, y - 1.5, 3, 3);
    });
    if (at < 0) return;
    context.strokeStyle = theme().ink;
    context.lineWidth = 2;
    context.strokeRect(spots[at].x - 5, spots[at].y - 5, 10, 10);
  }

  /** @type {(nth: number) => void} */
  function pointAt(nth) {
    if (nth === at) return;
    at = nth;
    /** @type {(code: number) => string} */
    const value = (code) => short((code / (CODES / 2) - 1) * found.scale, 3);
    readout.textContent = nth < 0 ? "" : `row ${whole(found.rows[nth])}: about ${value(found.across[nth])}, ${value(found.down[nth])}`;
    draw(canvas.clientWidth);
  }

  canvas.addEventListener("pointermove", ({ offsetX, offsetY }) => pointAt(nearest(spots, offsetX, offsetY)));
  canvas.addEventListener("pointerleave", () => pointAt(-1));
  canvas.addEventListener("keydown", (event) => {
    /** @type {Record<string, number>} */
    const places = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: count - 1 };
    if (!(event.key in places) || !count) return;
    pointAt(Math.max(0, Math.min(count - 1, places[event.key])));
    event.preventDefault();
  });
  keepDrawn(drawing, draw);
  return element("figure", { class: "scatter" }, drawing, readout, element("p", { class: "caption" }, captionOf(found)));
}

/** @type {(found: PointsRecord) => string} */
function captionOf({ count, rows, shares, lost }) {
  const some = rows.length + lost < count ? `${whole(rows.length)} of ${whole(count)} rows` : `${whole(rows.length)} rows`;
  const wrong = lost ? `; ${whole(lost)} with NaN or Inf are left out` : "";
  const [one, two] = shares.map((share) => percent(share, 1));
  return `${some} on the first two components, which hold ${one} and ${two} of the variance; from the first row in blue to the last in orange${wrong}`;
}

/**
 * The places of points on one scale in both directions.
 * @type {(found: PointsRecord, width: number, height: number) => Spot[]}
 */
function spotsOf({ across, down }, width, height) {
  const most = [across, down].map((codes) => codes.reduce((far, code) => Math.max(far, Math.abs(code - CODES / 2)), 1));
  const grow = Math.min((width / 2 - EDGE) / most[0], (height / 2 - EDGE) / most[1]);
  return Array.from(across, (code, nth) => ({ x: width / 2 + (code - CODES / 2) * grow, y: height / 2 - (down[nth] - CODES / 2) * grow }));
}

/** @type {(context: CanvasRenderingContext2D, width: number, height: number) => void} */
function drawAxes(context, width, height) {
  context.fillStyle = theme().line;
  context.fillRect(0, Math.round(height / 2), width, 1);
  context.fillRect(Math.round(width / 2), 0, 1, height);
}

/** @type {(share: number) => string} */
function colourOf(share) {
  return `rgb(${ENDS[0].map((byte, nth) => Math.round(byte + (ENDS[1][nth] - byte) * share)).join(" ")})`;
}

/** @type {(spots: Spot[], x: number, y: number) => number} */
function nearest(spots, x, y) {
  let [found, near] = [-1, NEAR ** 2];
  spots.forEach((spot, nth) => {
    const far = (spot.x - x) ** 2 + (spot.y - y) ** 2;
    if (far < near) [found, near] = [nth, far];
  });
  return found;
}
