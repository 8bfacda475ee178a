// @ts-check
// The facts, findings and changes of a weight.

import { element } from "../draw/element.js";
import { entryOf } from "../data/place.js";
import { bytesText, counted, percent, shapeText, short, shownName, whole } from "../data/text.js";

/**
 * The texts of rows that are not compared number by number.
 * @type {Record<string, (names: string[]) => string>}
 */
const KINDS = {
  equal: () => "equal, bit for bit",
  added: (names) => `only in ${names[0]}`,
  removed: (names) => `only in ${names[1]}`,
  shape: () => "different shape, not compared",
  renamed: () => "the same numbers under another name",
};

/**
 * The facts of a row in one line, below its name.
 * @type {(index: Index, row: number) => HTMLElement}
 */
export function brief({ columns }, row) {
  const shape = shapeText(columns.shape[row]) + (columns.axes[row] ? ` (${shownName(columns.axes[row])})` : "");
  const tied = columns.tied[row] === null ? "" : `tied to ${shownOrBlank(columns.tied[row])}`;
  const words = [columns.role[row], shape, columns.dtype[row], tied];
  return element("p", { class: "brief" }, words.filter(Boolean).join("  ·  "));
}

/**
 * A list of the facts of a row.
 * @type {(index: Index, row: number) => HTMLElement}
 */
export function facts(index, row) {
  /** @type {[word: string, text: string][]} */
  const known = [...factsOf(index.columns, row), ["entries", entriesText(index, row)]];
  const lines = known.filter(([, text]) => text);
  return element(
    "dl",
    { class: "facts" },
    ...lines.map(([word, text]) => element("div", {}, element("dt", {}, word), element("dd", {}, text))),
  );
}

/** @type {(columns: Columns, row: number) => [word: string, text: string][]} */
function factsOf(columns, row) {
  const { axes, layer, trainable, tied } = columns;
  return [
    ["shape", shapeText(columns.shape[row]) + (axes[row] ? ` (${shownName(axes[row])})` : "")],
    ["dtype", dtypeText(columns.dtype[row], columns.encoding[row])],
    ["role", columns.role[row]],
    ["layer", shownOrBlank(layer[row])],
    ["size", `${whole(columns.size[row])}, ${bytesText(columns.bytes[row])}`],
    ["trainable", trainable[row] === null ? "not known" : trainable[row] ? "yes" : "no"],
    ["tied to", shownOrBlank(tied[row])],
  ];
}

/** @type {(name: string | null) => string} */
function shownOrBlank(name) {
  return name ? shownName(name) : "";
}

/** @type {(dtype: string, encoding: string) => string} */
function dtypeText(dtype, encoding) {
  return encoding && encoding !== dtype ? `${dtype}, stored as ${shownName(encoding)}` : dtype;
}

/** @type {(index: Index, row: number) => string} */
function entriesText(index, row) {
  const [size, first] = [index.columns.size[row], entryOf(index, row, 0)];
  return first === null || !size ? "" : `${whole(first)} to ${whole(first + size - 1)} of the vector`;
}

/**
 * A list of the findings of a row; null if there are none.
 * @type {(index: Index, row: number) => HTMLElement | null}
 */
export function findings(index, row) {
  const found = index.findingsOf[row];
  if (!found) return null;
  return element(
    "ul",
    { class: "findings", "aria-label": "Findings" },
    ...found.map((one) => element("li", { class: one.severity }, element("b", {}, one.kind), " ", shownName(one.what))),
  );
}

/**
 * A line about the change of a row; null if it is not known.
 * @type {(index: Index, row: number, names: string[]) => HTMLElement | null}
 */
export function change(index, row, names) {
  const { columns } = index;
  const kind = index.two ? columns.kind[row] : null;
  if (kind === null) return null;
  const numbers = kind === "changed" ? changeTexts(columns, row) : [KINDS[kind]?.(names) ?? kind];
  const from = columns.name_before[row] && columns.name_before[row] !== columns.name[row] ? `named ${shownName(columns.name_before[row])} there` : "";
  const verdict = columns.verdict[row] ? element("b", {}, ` ${shownName(columns.verdict[row])}`) : null;
  const sentence = [...numbers, from].filter(Boolean).join(" · ");
  return element("p", { class: "change" }, `Compared with ${names[1]}: `, sentence, verdict && ".", verdict);
}

/** @type {(columns: Columns, row: number) => string[]} */
function changeTexts(columns, row) {
  const [changed, size, lost] = [columns.changed[row] ?? 0, columns.size[row], columns.nonfinite[row] ?? 0];
  const count = `${whole(changed)} of ${counted(size, "entry", "entries")} changed (${percent(changed, size)})`;
  if (lost) {
    const largest = changed > lost ? `largest of the others ${short(columns.max_abs[row])}` : "";
    return [count, `${whole(lost)} of them NaN or infinite on a side`, largest].filter(Boolean);
  }
  return [
    count,
    `relative change ${short(columns.relative[row]) || "unknown"}`,
    `cosine ${short(columns.cosine[row]) || "unknown"}`,
    `largest ${short(columns.max_abs[row])}`,
  ];
}
