// @ts-check
// The names of layers below the overview.

import { FONT } from "./canvas.js";
import { bandsOf } from "../data/layers.js";
import { shownName } from "../data/text.js";
import { theme } from "./theme.js";

/** @typedef {import("./strip.js").StripScene} StripScene */

/** The most bands, and the least pixels of each. */
const [MOST, WIDE] = [40, 54];

/**
 * Draw the bands below a strip, from `top`: as many as have room for their names.
 * @type {(scene: StripScene, root: Layer, top: number) => void}
 */
export function drawBands({ context, left, width, inner }, root, top) {
  const { muted, soft, line } = theme();
  const bands = bandsOf(root, Math.max(4, Math.min(MOST, Math.floor(inner / WIDE))));
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.font = FONT;
  bands.forEach((band, nth) => {
    const [from, to] = [left(band.rows[0]), left(band.rows[band.rows.length - 1] + 1)];
    context.fillStyle = nth % 2 ? soft : line;
    context.fillRect(from, top + 1, Math.max(to - from - 1, 0.5), 14);
    const text = shortened(context, shownName(bandName(band, nth, bands)), to - from - 8);
    context.fillStyle = muted;
    if (text && to <= width) context.fillText(text, from + 4, top + 8.5);
  });
}

/**
 * The name of a band, with that of its layer at the first of a numbered series, and where others have the same label.
 * @type {(band: Band, nth: number, bands: Band[]) => string}
 */
function bandName({ label, parent }, nth, bands) {
  if (!parent?.parent) return label;
  const first = bands[nth - 1]?.parent !== parent;
  const unclear = /^\d+$/.test(label) ? first : bands.some((other) => other.label === label && other.parent !== parent);
  return unclear ? `${pathOf(parent)}.${label}` : label;
}

/** @type {(layer: Layer) => string} */
function pathOf({ label, parent }) {
  return parent?.parent ? `${pathOf(parent)}.${label}` : label;
}

/** @type {(context: CanvasRenderingContext2D, text: string, room: number) => string} */
function shortened(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  for (let length = Math.min(text.length - 1, 24); length >= 3; length -= 1) {
    const cut = `${text.slice(0, length)}…`;
    if (context.measureText(cut).width <= room) return cut;
  }
  return "";
}
