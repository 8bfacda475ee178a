// @ts-check
// A view of the net: where its parameters are, and the bytes that they take in other types.

import { element, replace } from "../draw/element.js";
import { legendOfRoles } from "../draw/roles.js";
import { treemap } from "../draw/treemap.js";
import { bytesText, counted, percent, rounded, shownName, whole } from "../data/text.js";
import { later } from "./later.js";
import { focusIn, roving } from "./roving.js";

/**
 * The sizes of a net.
 * @type {(net: Net) => NetView}
 */
export function sizes(net) {
  return later(net, net.api.net("size"), (record) => made(net, record));
}

/** @type {(net: Net, record: SizeRecord) => NetView} */
function made(net, record) {
  const rows = record.rows.map((row) => ({ ...row, label: shownName(row.label), name: shownName(row.name) }));
  /** @type {(row: SizeRow) => void} */
  const onChoose = ({ row }) => void (row >= 0 && net.onOpen(row));
  /** @type {(row: SizeRow | null) => void} */
  const onPoint = (row) => net.say(row ? wordsOf(row) : summary(record));
  const map = treemap(rows, { onChoose, onPoint, labelOf: wordsOf }, roving);
  const bars = element("div", { class: "bars", role: "group", "aria-label": "Shares of the layers" }, ...rows.map((row) => bar(row, () => onChoose(row))));
  roving(bars);
  const hidden = record.hidden ? element("p", { class: "none" }, `and ${whole(record.hidden)} more layers`) : null;
  net.say(summary(record));
  return {
    element: element("div", { class: "size-view" }, map, element("div", { class: "bar-box" }, bars, hidden), types(record)),
    legend: legendOfRoles(net.index),
    focus: () => focusIn(map),
    open(row) {
      bars.querySelectorAll("button").forEach((each, nth) => each.classList.toggle("open", row >= 0 && rows[nth].row === row));
    },
    show() {},
    refresh() {},
  };
}

/** @type {(record: SizeRecord) => string} */
function summary({ parameters, trainable, frozen, unknown, buffers, other, tied, nbytes, beside }) {
  const kinds = [
    trainable && trainable === parameters && "all trainable",
    trainable && trainable < parameters && `${rounded(trainable)} trainable`,
    frozen && `${rounded(frozen)} frozen`,
    unknown && unknown < parameters && `${rounded(unknown)} perhaps trainable`,
  ];
  const known = kinds.filter(Boolean).join(", ");
  const parts = [
    `${rounded(parameters)} parameters${known ? ` (${known})` : ""}`,
    buffers && `${rounded(buffers)} in buffers`,
    other && `${rounded(other)} that may be either`,
    tied && `${rounded(tied)} tied`,
    `${bytesText(nbytes)} stored`,
    beside.optimizer && `beside the model ${rounded(beside.optimizer)} of the optimizer, ${bytesText(beside.optimizer_bytes)}`,
    beside.rest && `${rounded(beside.rest)} other, ${bytesText(beside.rest_bytes)}`,
  ];
  return parts.filter(Boolean).join("  ·  ");
}

/** @type {(row: SizeRow) => string} */
function wordsOf({ name, times, leaf, parameters, other, share, buffers, nbytes, tied }) {
  const parts = [
    name,
    times > 1 && (leaf ? `${whole(times)} layers` : `${whole(times)} blocks`),
    (parameters + other > 0 || !buffers) && `${counted(parameters + other, "parameter")}, ${percent(share, 1)}`,
    buffers && `${whole(buffers)} in buffers`,
    tied && `${whole(tied)} tied`,
    bytesText(nbytes),
  ];
  return parts.filter(Boolean).join("  ·  ");
}

/** @type {(row: SizeRow, onClick: () => void) => HTMLElement} */
function bar(row, onClick) {
  const { label, depth, times, parameters, other, share, buffers, leaf } = row;
  const fill = element("i", { "aria-hidden": "true" });
  fill.style.width = `${100 * share}%`;
  const name = element("span", { class: "bar-name", title: row.name }, label + (times > 1 && !leaf ? `  \u00d7${whole(times)}` : ""));
  name.style.paddingLeft = `${Math.min(depth, 6) * 12}px`;
  const count = parameters + other || !buffers ? rounded(parameters + other) : `${rounded(buffers)} buffers`;
  const made = element(
    "button",
    { type: "button", on: { click: onClick } },
    name,
    element("span", { class: "bar-track" }, fill),
    element("span", { class: "bar-share" }, parameters + other || !buffers ? percent(share, 1) : ""),
    element("span", { class: "bar-count" }, count),
  );
  return made;
}

/**
 * The bytes in each type, and whether they fit into a memory.
 * @type {(record: SizeRecord) => HTMLElement}
 */
function types({ encodings, training }) {
  const input = element("input", { id: "memory", type: "number", min: 0, step: "any", value: 8 });
  const body = element("tbody", {});
  /** @type {[string, { nbytes: number, note: string }][]} */
  const lines = [...Object.entries(encodings), ["training with Adam", { nbytes: training, note: "float32, without activations" }]];
  const most = Math.max(...lines.map(([, { nbytes }]) => nbytes), 1);
  const draw = () => {
    const room = Number(input.value) * 1e9;
    replace(body, ...lines.map(([word, { nbytes, note }]) => line(word, nbytes, note, room, most)));
  };
  input.addEventListener("input", draw);
  draw();
  const heads = ["as", "bytes", "fits"].map((title) => element("th", { scope: "col" }, title));
  return element(
    "div",
    { class: "types" },
    element("label", { for: "memory" }, "fits into ", input, " GB?"),
    element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body),
    element("p", { class: "none" }, "The weights alone: activations and caches need memory too."),
  );
}

/** @type {(word: string, nbytes: number, note: string, room: number, most: number) => HTMLElement} */
function line(word, nbytes, note, room, most) {
  const fill = element("i", { "aria-hidden": "true" });
  fill.style.width = `${(100 * nbytes) / most}%`;
  const fits = room > 0 ? (nbytes <= room ? "yes" : "no") : "";
  return element(
    "tr",
    { class: fits && `fits-${fits}`, title: note || null },
    element("th", { scope: "row" }, word),
    element("td", {}, bytesText(nbytes), element("span", { class: "bar-track" }, fill)),
    element("td", {}, fits),
  );
}
