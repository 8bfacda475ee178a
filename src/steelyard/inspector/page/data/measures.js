// @ts-check
// What the grid of blocks shows: a statistic of all numbers of some weights together, or the change of the one that changed most.
// The numbers and the scales are those of Python's `steelyard.grid`.

import { percent, short, whole } from "./text.js";

/** @typedef {(index: Index, rows: number[]) => number | null} Valued */
/** @typedef {"logarithmic" | "linear"} ScaleKind */
/** @typedef {{ key: string, title: string, scale: ScaleKind, two: boolean, of: Valued, text(value: number): string }} Measure */
/** @typedef {{ kind: ScaleKind, low: number, high: number }} Scale */

/** The decades of a logarithmic scale at most, and the share of the smallest number that is not zero. */
const [DECADES, LEAST] = [4, 0.12];

/** @type {Measure[]} */
const ALL = [
  { key: "change", title: "relative change", scale: "logarithmic", two: true, of: changeOf, text: brief },
  { key: "rank", title: "rank of the change", scale: "linear", two: true, of: rankOf, text: whole },
  { key: "std", title: "standard deviation", scale: "logarithmic", two: false, of: stdOf, text: brief },
  { key: "norm", title: "l2 norm", scale: "logarithmic", two: false, of: (index, rows) => rootOfSum(index.columns.l2, rows), text: brief },
  { key: "max", title: "greatest magnitude", scale: "logarithmic", two: false, of: greatest, text: brief },
  { key: "zeros", title: "share of zeros", scale: "linear", two: false, of: zerosOf, text: (value) => percent(value, 1) },
  { key: "lost", title: "NaN and Inf", scale: "logarithmic", two: false, of: lostOf, text: whole },
];

/**
 * The measures that an index has, the best first.
 * @type {(index: Index) => Measure[]}
 */
export function measuresOf(index) {
  return ALL.filter(({ two }) => index.two || !two);
}

/**
 * The scale of finite values; a logarithmic one has at least one decade.
 * @type {(kind: ScaleKind, values: number[]) => Scale}
 */
export function scaleOf(kind, values) {
  const sizes = values.filter((value) => value > 0 && Number.isFinite(value));
  const high = sizes.reduce((most, size) => Math.max(most, size), 0);
  if (kind === "linear" || !high) return { kind, low: 0, high };
  const low = sizes.reduce((least, size) => Math.min(least, size), high / 10);
  return { kind, low: Math.max(low, high / 10 ** DECADES), high };
}

/**
 * Where a value is on its scale, from 0 to 1.
 * @type {(scale: Scale, value: number | null) => number}
 */
export function shareOf({ kind, low, high }, value) {
  if (!value || high <= 0) return 0;
  if (kind === "linear") return Math.min(value / high, 1);
  if (high <= low) return 1;
  return LEAST + (1 - LEAST) * Math.max(0, Math.min(1, Math.log(value / low) / Math.log(high / low)));
}

/** @type {(value: number) => string} */
function brief(value) {
  return short(value, 3);
}

/**
 * Numbers of some rows; null unless all are known.
 * @type {(column: (number | null)[], rows: number[]) => number[] | null}
 */
function known(column, rows) {
  const found = rows.map((row) => column[row]);
  return found.some((value) => value === null) ? null : /** @type {number[]} */ (found);
}

/** @type {(values: number[] | null) => number | null} */
function sum(values) {
  return values && values.reduce((all, value) => all + value, 0);
}

/** @type {(column: (number | null)[], rows: number[]) => number | null} */
function rootOfSum(column, rows) {
  const values = known(column, rows);
  return values && (values.length === 1 ? values[0] : Math.sqrt(values.reduce((all, value) => all + value * value, 0)));
}

/**
 * The standard deviation of all numbers of some rows: that of sets is known from their means, deviations and sizes.
 * @type {Valued}
 */
function stdOf(index, rows) {
  const { mean, std } = index.columns;
  if (rows.length === 1) return std[rows[0]];
  const [means, deviations] = [known(mean, rows), known(std, rows)];
  if (!means || !deviations) return null;
  const counts = rows.map((row) => finite(index, row));
  const all = counts.reduce((one, other) => one + other, 0);
  const middle = counts.reduce((part, count, nth) => part + count * means[nth], 0) / all;
  const squares = counts.reduce((part, count, nth) => part + count * (deviations[nth] ** 2 + (means[nth] - middle) ** 2), 0);
  return Math.sqrt(squares / all);
}

/** @type {(index: Index, row: number) => number} */
function finite({ columns }, row) {
  return columns.size[row] - (columns.nan[row] ?? 0) - (columns.inf[row] ?? 0);
}

/** @type {Valued} */
function greatest({ columns }, rows) {
  const [low, high] = [known(columns.min, rows), known(columns.max, rows)];
  return low && high && Math.max(...[...low, ...high].map(Math.abs));
}

/** @type {Valued} */
function zerosOf(index, rows) {
  const zeros = sum(known(index.columns.zeros, rows));
  const all = rows.reduce((part, row) => part + finite(index, row), 0);
  return zeros === null || !all ? null : zeros / all;
}

/** @type {Valued} */
export function lostOf({ columns }, rows) {
  const [nan, inf] = [sum(known(columns.nan, rows)), sum(known(columns.inf, rows))];
  return nan === null || inf === null ? null : nan + inf;
}

/**
 * The row that changed most; a change from zero is the greatest.
 * @type {(index: Index, rows: number[]) => number}
 */
function mostChanged({ columns }, rows) {
  const change = (/** @type {number} */ row) => (columns.kind[row] === "equal" ? 0 : (columns.relative[row] ?? Infinity));
  return rows.reduce((most, row) => (change(row) > change(most) ? row : most), rows[0]);
}

/** @type {Valued} */
function changeOf(index, rows) {
  return index.columns.relative[mostChanged(index, rows)];
}

/** @type {Valued} */
function rankOf(index, rows) {
  const row = mostChanged(index, rows);
  return index.columns.changed[row] === 0 ? 0 : index.columns.rank[row];
}
