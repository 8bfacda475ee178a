// @ts-check
// A view of the net: its layers in order, what feeds each, and repeated blocks once; without a graph, its layers by their names.

import { element } from "../draw/element.js";
import { drawWires, wiresOf } from "../draw/wires.js";
import { byNames } from "../data/named.js";
import { counted, percent, rounded, shapeText, shownName, whole } from "../data/text.js";
import { later } from "./later.js";
import { focusIn, roving } from "./roving.js";

/** Pixels of a layer, as in the style sheet. */
const ROW = 26;
/** How a layer's sources name the one above it, and the one before a repeated block; as in Python. */
const [ABOVE, INPUT] = ["above", "the block's input"];

/**
 * The architecture of a net.
 * @type {(net: Net) => NetView}
 */
export function architecture(net) {
  return later(net, asked(net), (record) => made(net, record));
}

/** @type {(net: Net) => Promise<ArchitectureRecord>} */
async function asked({ api, index }) {
  const record = await api.net("architecture");
  return record.error || record.rows.length ? record : byNames(record, await api.net("size"), index);
}

/** @type {(net: Net, record: ArchitectureRecord) => NetView} */
function made(net, record) {
  const { rows } = record;
  const line = summary(record);
  net.say(line);
  if (!rows.length) return blank(record);
  const total = rows.reduce((most, row) => Math.max(most, row.share), 0);
  const times = timesOf(rows);
  const lines = rows.map((row, nth) => lineOf(row, times[nth], total, net, isPlain(record)));
  const heights = rows.map((row, nth) => (isBlock(row) ? null : (nth + 0.5) * ROW));
  const holder = element("div", { class: "layer-list", role: "group", "aria-label": "Layers in order" }, ...lines);
  const wires = wiresOf(feedsOf(rows));
  const svg = record.order === "execution" ? drawWires(wires, heights, rows.length * ROW) : null;
  const beside = element("div", { class: `layer-beside${isPlain(record) ? " plain" : ""}` }, holder);
  if (svg) beside.prepend(svg);
  roving(holder);
  /** @type {(event: Event) => void} */
  const point = ({ target }) => {
    const at = lines.indexOf(/** @type {HTMLElement} */ (/** @type {Element} */ (target).closest(".layer-line")));
    net.say(at < 0 ? line : wordsOf(rows[at]));
  };
  holder.addEventListener("pointerover", point);
  holder.addEventListener("focusin", point);
  holder.addEventListener("pointerleave", () => net.say(line));
  const hidden = record.hidden ? element("p", { class: "none" }, `and ${counted(record.hidden, "more layer")}`) : null;
  return {
    element: element("div", { class: "architecture" }, beside, hidden),
    focus: () => focusIn(holder),
    open(row) {
      const layer = row < 0 ? "" : net.index.columns.layer[row];
      lines.forEach((each, nth) => each.classList.toggle("open", Boolean(layer) && (rows[nth].row === row || rows[nth].name === layer)));
    },
    show() {},
    refresh() {},
  };
}

/** @type {(record: ArchitectureRecord) => NetView} */
function blank({ why }) {
  const text = `How the layers are connected is not known${why ? `: ${shownName(why)}` : ""}.`;
  return { element: element("p", { class: "none" }, text), focus() {}, open() {}, show() {}, refresh() {} };
}

/** @type {(record: ArchitectureRecord) => string} */
function summary({ order, rows, inputs, why, outside }) {
  if (!rows.length) return "no graph is known";
  if (order === "names") return `the layers by their names; how they are connected is not known${why ? `: ${shownName(why)}` : ""}`;
  const layers = rows.filter((row) => !isBlock(row)).reduce((sum, row) => sum + row.times, 0);
  const given = Object.entries(inputs).map(([name, shape]) => `${shownName(name)}${shape ? ` ${sizes(shape)}` : ""}`);
  const parts = [
    `${counted(layers, "layer")} ${order === "execution" ? "in the order in which they run" : "as they are defined; what feeds each is not known"}`,
    given.length && `input ${given.slice(0, 4).join(", ")}`,
    outside.length && `${counted(outside.length, "weight")} in no layer`,
    order !== "execution" && shownName(why || " ").trim(),
  ];
  return parts.filter(Boolean).join("  ·  ");
}

/** @type {(row: LayerRow) => boolean} */
function isBlock({ layers }) {
  return layers > 1;
}

/**
 * The places of the layers that feed each layer; sources are names, looked for upwards.
 * @type {(rows: LayerRow[]) => number[][]}
 */
function feedsOf(rows) {
  let last = -1;
  /** @type {number[]} */
  const before = []; // the layer before each block that is open
  return rows.map((row, nth) => {
    before.length = row.depth;
    if (isBlock(row)) {
      before[row.depth] = last;
      return [];
    }
    const found = row.sources.map((source) => {
      if (source === ABOVE) return last;
      if (source === INPUT) return before[row.depth - 1] ?? -1;
      for (let at = nth - 1; at >= 0; at -= 1) if (!isBlock(rows[at]) && namesOf(rows[at]).includes(source)) return at;
      return -1;
    });
    last = nth;
    return found;
  });
}

/**
 * What a row is called: its name, that within its block, and that of the first of its repetitions.
 * @type {(row: LayerRow) => string[]}
 */
function namesOf({ name, label }) {
  return [name, label, name.split(" \u2026 ")[0]];
}

/**
 * How many times each row is there within the block that it is in.
 * @type {(rows: LayerRow[]) => number[]}
 */
function timesOf(rows) {
  /** @type {number[]} */
  const outer = [];
  return rows.map(({ depth, times }) => {
    outer.length = depth;
    outer[depth] = times;
    return times / (outer[depth - 1] ?? 1);
  });
}

/** @type {(shape: (number | null)[]) => string} */
function sizes(shape) {
  return shape.length ? shape.map((side) => side ?? "?").join("\u200a×\u200a") : "scalar";
}

/**
 * Whether nothing is known of the layers but their names and weights.
 * @type {(record: ArchitectureRecord) => boolean}
 */
function isPlain({ order }) {
  return order === "names";
}

/** @type {(row: LayerRow, times: number, most: number, net: Net, plain: boolean) => HTMLElement} */
function lineOf(row, times, most, net, plain) {
  const { label, depth, what, kind, shapes, output_shape: out, parameters, share } = row;
  const block = isBlock(row);
  const repeats = times > 1 ? element("b", {}, `\u00d7\u200a${whole(times)}`) : null;
  const name = element("span", { class: "layer-name", title: shownName(row.name) }, shownName(label), plain && repeats);
  name.style.paddingLeft = `${Math.min(depth, 8) * 16}px`;
  const fill = element("i", { "aria-hidden": "true" });
  fill.style.width = `${most ? (100 * share) / most : 0}%`;
  const held = Object.entries(shapes).map(([word, shape]) => `${shownName(word)} ${shapeText(shape)}`);
  const cells = [
    name,
    !plain && element("span", { class: "layer-what" }, repeats, block && row.layers > 2 ? `${whole(row.layers)} layers` : shownName(what || kind || " ")),
    !plain && element("span", { class: "layer-shape" }, out ? sizes(out) : ""),
    element("span", { class: "layer-held" }, held.join(", ")),
    element("span", { class: parameters ? "bar-track" : "" }, parameters ? fill : null),
    element("span", { class: "bar-count" }, parameters ? rounded(parameters) : ""),
  ];
  const names = { class: `layer-line${block ? " block" : ""}${depth ? " inner" : ""}` };
  if (row.row < 0) return element("div", names, ...cells);
  return element("button", { type: "button", ...names, on: { click: () => net.onOpen(row.row) } }, ...cells);
}

/** @type {(row: LayerRow) => string} */
function wordsOf(row) {
  const { name, what, sources, input_shape: into, output_shape: out, parameters, share, times, layers } = row;
  const parts = [
    shownName(name),
    isBlock(row) ? `${counted(layers, "layer")} ${whole(times)} times` : shownName(what || " ").trim(),
    out && `${into ? `${sizes(into)} to ` : ""}${sizes(out)}`,
    parameters && `${counted(parameters, "parameter")}, ${percent(share, 1)}`,
    sources.length > 0 && `from ${sources.map(shownName).join(", ")}`,
  ];
  return parts.filter(Boolean).join("  ·  ");
}
