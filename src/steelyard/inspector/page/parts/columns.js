// @ts-check
// The columns of the table: their titles, texts and sort keys.

import { ranks } from "../data/order.js";
import { widthOf } from "../draw/canvas.js";
import { rounded, shapeText, short, whole } from "../data/text.js";

/** @type {RowStatistic[]} */
const MOMENTS = ["min", "mean", "max", "std"];
/** Pixels of a column of words, and around its text; only the longest texts are measured. */
const [LEAST, WIDEST, PADDING, MEASURED] = [56, 220, 18, 12];
/** Pixels of a number: `-1.23e-299` is the longest. */
const NUMBER_WIDTH = 82;

/**
 * Return the columns; the table draws those without text.
 * @type {(index: Index) => Column[]}
 */
export function columnsOf(index) {
  const { columns, two } = index;
  return [
    { key: "name", title: "weight", width: 0, keys: once(() => ranks(index.lowered)) },
    { key: "thumb", title: "picture", width: 62 },
    { key: "spark", title: "", width: 124 },
    ...(two ? changesOf(columns) : []),
    { key: "shape", title: "shape", width: roomFor(columns.shape.map((shape) => shapeText(shape))), text: (row) => shapeText(columns.shape[row]), keys: () => columns.size },
    { ...numberColumn(columns, "size"), title: "size", width: 92, text: (row) => rounded(columns.size[row]) },
    wordColumn(columns, "dtype", roomFor(columns.dtype)),
    wordColumn(columns, "role", roomFor(columns.role)),
    ...MOMENTS.map((key) => numberColumn(columns, key)),
  ];
}

/** @type {(columns: Columns) => Column[]} */
function changesOf(columns) {
  // A change that no number tells is the greatest: of a row without a partner of its shape, from zero, from or to NaN.
  const { kind, relative, changed, cosine } = columns;
  return [
    // Not cached: the kinds of a live page arrive one by one.
    { ...wordColumn(columns, "kind", 74), keys: () => ranks(kind.map((each) => each ?? "")) },
    {
      ...numberColumn(columns, "relative"),
      keys: () => relative.map((value, row) => ((kind[row] ?? "equal") === "equal" || Number.isFinite(value) ? value : Infinity)),
      hint: "l2 norm of the difference, divided by that of the older weight",
    },
    { ...numberColumn(columns, "cosine"), text: (row) => cosineText(cosine[row]), hint: "cosine of the angle between the two weights" },
    {
      ...numberColumn(columns, "changed"),
      width: 98,
      text: (row) => wholeText(changed[row]),
      hint: "entries whose bits differ",
    },
  ];
}

/**
 * The width of a column in which no text is cut, unless it is very long.
 * @type {(texts: string[]) => number}
 */
function roomFor(texts) {
  const longest = [...new Set(texts)].sort((one, other) => other.length - one.length).slice(0, MEASURED);
  return Math.min(WIDEST, Math.max(LEAST, Math.ceil(Math.max(0, ...longest.map(widthOf))) + PADDING));
}

/** @type {(columns: Columns, key: "kind" | "dtype" | "role", width: number) => Column} */
function wordColumn(columns, key, width) {
  return { key, title: key, width, text: (row) => columns[key][row] ?? "", keys: once(() => ranks(columns[key].map((word) => word ?? ""))) };
}

/** @type {(columns: Columns, key: NumberColumn | "size") => Column} */
function numberColumn(columns, key) {
  return { key, title: key, width: NUMBER_WIDTH, right: true, text: (row) => short(columns[key][row], 3), keys: () => columns[key] };
}

/** @type {(cosine: number | null) => string} */
function cosineText(cosine) {
  if (cosine === null) return "";
  return cosine !== 1 && Math.abs(cosine) > 0.99995
    ? `${cosine > 0 ? "" : "-"}1\u2009−\u2009${(1 - Math.abs(cosine)).toExponential(0)}`
    : cosine.toFixed(4);
}

/** @type {<Made>(make: () => Made) => () => Made} */
function once(make) {
  /** @type {ReturnType<typeof make> | undefined} */
  let made;
  return () => (made ??= make());
}

/** @type {(number: number | null) => string} */
function wholeText(number) {
  return number === null ? "" : whole(number);
}
