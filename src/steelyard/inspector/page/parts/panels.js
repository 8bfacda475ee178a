// @ts-check
// Tabs of weights that are more than matrices: dense kernels as images, attention by its heads, embeddings as points.

import { element, messageOf, replace } from "../draw/element.js";
import { filters } from "../draw/filters.js";
import { scatter } from "../draw/scatter.js";
import { counted, short, shownName, whole } from "../data/text.js";

/** @type {Record<string, string>} */
const LETTERS = { q: "queries", k: "keys", v: "values", o: "output" };
/** The sides of an image: the smallest, and the most times that one is as long as the other. */
const [SMALLEST, LONGEST] = [4, 4];
const COLOURS = 3;

/**
 * The tabs that a weight has, of the newer source first.
 * @type {(scene: Scene) => Tab[]}
 */
export function panelTabs({ api, row, details }) {
  /** @type {Tab[]} */
  const tabs = [];
  const side = details.findIndex(Boolean);
  const { images, heads, points } = details[side] ?? {};
  if (images) tabs.push({ key: "images", title: "Images", make: () => imagesOf(images) });
  if (heads) tabs.push({ key: "heads", title: "Heads", make: () => headsOf(heads, api.heads && ((count) => api.heads(row, side, count))) });
  if (points) tabs.push({ key: "points", title: "Points", make: () => (points.error ? element("p", { class: "none" }, shownName(points.error)) : scatter(points)) });
  return tabs;
}

/**
 * The units of a dense kernel as images, whose sides can be chosen.
 * @type {(found: ImagesRecord) => HTMLElement}
 */
function imagesOf(found) {
  const layouts = layoutsOf(found);
  const holder = element("div", {});
  const chooser = element("select", { "aria-label": "Sides of the image" });
  chooser.append(...layouts.map(({ text }, nth) => element("option", { value: nth }, text)));
  const draw = () => replace(holder, filters(...drawn(found, layouts[Number(chooser.value)])));
  chooser.addEventListener("change", draw);
  draw();
  return element("div", { class: "images" }, element("label", {}, `${whole(found.inputs)} inputs as `, chooser), holder);
}

/** @typedef {{ height: number, width: number, colours: number, last: boolean, text: string }} Layout */

/**
 * The layouts of an image with so many inputs, the square one first.
 * @type {(found: ImagesRecord) => Layout[]}
 */
function layoutsOf({ inputs, sides: [high, wide, tints], last }) {
  /** @type {Layout[]} */
  const found = [];
  for (const colours of [1, COLOURS]) {
    const pixels = inputs / colours;
    for (let height = SMALLEST; height * SMALLEST <= pixels; height += 1) {
      const width = pixels / height;
      if (!Number.isInteger(width) || Math.max(width / height, height / width) > LONGEST) continue;
      for (const inner of colours === 1 ? [last] : [last, !last]) {
        const text = (colours === 1 ? [height, width] : inner ? [height, width, colours] : [colours, height, width]).join("\u200a\u00d7\u200a");
        found.push({ height, width, colours, last: inner, text });
      }
    }
  }
  /** @type {(one: Layout) => boolean} */
  const isFirst = (one) => one.height === high && one.width === wide && one.colours === tints && one.last === last;
  return [...found.filter(isFirst), ...found.filter((one) => !isFirst(one))];
}

/** @type {(found: ImagesRecord, layout: Layout) => [Filters, string, string]} */
function drawn({ count, units, inputs, scale, cells, assumed }, { height, width, colours, last, text }) {
  const named = Array.from({ length: units }, (_, nth) => `out ${nth}`);
  const pixels = height * width;
  const ordered = colours === 1 || last ? cells : cells.map((_, nth) => cells[Math.floor(nth / inputs) * inputs + (nth % colours) * pixels + Math.floor((nth % inputs) / colours)]);
  const some = units < count ? `the first ${whole(units)} of ${whole(count)} units` : counted(units, "unit");
  const tint = colours === 1 ? `blue is negative, orange positive, to \u00b1${short(scale)}` : "red, green and blue inputs, grey is zero";
  const axis = assumed ? `; the file does not say which axis has the inputs: taken to be the ${assumed}` : "";
  return [{ count, guessed: false, units: named, height, width, colours, scale, cells: ordered }, "", `${some}, their inputs taken as ${text}; ${tint}${axis}`];
}

/**
 * The heads of a kernel; `ask` reads them by their number, where a page can.
 * @type {(found: HeadsRecord, ask: ((count: number) => Promise<HeadsRecord>) | null) => HTMLElement}
 */
function headsOf(found, ask) {
  const holder = element("div", { class: "heads-parts" });
  /** @type {(record: HeadsRecord) => void} */
  const show = ({ error, parts, how }) =>
    replace(holder, error ? element("p", { class: "none", role: "status" }, shownName(error)) : null, ...parts.map(partOf), how ? element("p", { class: "caption" }, shownName(how)) : null);
  show(found);
  if (!ask) return holder;
  const input = element("input", { type: "number", min: 1, step: 1, value: found.parts[0]?.heads ?? null });
  input.addEventListener("change", () => {
    const count = Number(input.value);
    if (!Number.isInteger(count) || count < 1) return;
    ask(count).then(show, (error) => show({ error: messageOf(error), parts: [], how: "" }));
  });
  return element("div", { class: "head-panel" }, element("label", {}, "heads ", input), holder);
}

/** @type {(part: HeadsPart) => HTMLElement} */
function partOf({ letter, heads, height, width, scale, cells, norms }) {
  const units = Array.from(norms, (norm, nth) => `head ${nth}, l2 norm ${short(norm, 3)}`);
  const caption = `${LETTERS[letter] ?? letter}: ${counted(heads, "head")}, each with its dimensions downwards; blue is negative, orange positive, to \u00b1${short(scale)}`;
  return filters({ count: heads, guessed: false, units, height, width, colours: 1, scale, cells }, "", caption);
}
