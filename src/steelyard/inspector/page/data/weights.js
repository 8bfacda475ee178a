// @ts-check
// The index of the page: the facts of every weight by its row.

import { shownName } from "./text.js";

/** @type {RowStatistic[]} */
const STATISTICS = ["min", "max", "mean", "std", "l2", "zeros", "nan", "inf"];
/** @type {("changed" | "max_abs" | "relative" | "cosine")[]} */
const CHANGES = ["changed", "max_abs", "relative", "cosine"];
/** Roles that set the common axis, if there are any: variances and counts would flatten all others. */
const AXIS_ROLES = ["kernel", "recurrent kernel", "bias"];
const SEVERITIES = ["info", "warning", "error"];

/**
 * Prepare an index for the page: names that may be shown, numbers, findings by row, places in the vector.
 * @type {(index: IndexRecord) => Index}
 */
export function prepared(index) {
  const columns = columnsOf(index.columns);
  const count = columns.name.length;
  const shown = columns.name.map(shownName);
  const findings = index.findings ?? [];
  const findingsOf = byRow(findings, columns.name);
  return {
    live: index.live,
    notes: index.notes ?? [],
    sources: index.sources,
    columns,
    count,
    shown,
    lowered: shown.map((name) => name.toLowerCase()),
    two: index.sources.length > 1,
    findings,
    findingsOf,
    worst: findingsOf.map((list) => Math.max(-1, ...(list ?? []).map((one) => SEVERITIES.indexOf(one.severity)))),
    starts: startsOf(columns),
    sparks: [sparksOf(index.spark, columns.role), sparksOf(index.spark_before, columns.role)],
  };
}

/**
 * The columns with real numbers, and with blanks in the columns that are sent for two sources only.
 * @type {(columns: ColumnsRecord) => Columns}
 */
function columnsOf(columns) {
  const blanks = columns.name.map(() => null);
  const words = [...STATISTICS, ...CHANGES];
  const numbers = Object.fromEntries(words.map((word) => [word, Array.from(columns[word] ?? blanks, numberOf)]));
  return {
    ...columns,
    name: Array.from(columns.name),
    present: columns.present ?? columns.name.map(() => [true]),
    name_before: columns.name_before ?? columns.name.map(() => ""),
    kind: columns.kind ?? blanks,
    verdict: columns.verdict ?? columns.name.map(() => ""),
    .../** @type {Record<NumberColumn, (number | null)[]>} */ (numbers),
  };
}

/**
 * Return whether a source has a weight in a row.
 * @type {(index: Index, row: number, side: number) => boolean}
 */
export function isOn(index, row, side) {
  return Boolean(index.columns.present[row][side]);
}

/**
 * The sides that have a row; without the older one if its shape differs, since an entry is elsewhere there.
 * @type {(index: Index, row: number) => number[]}
 */
export function sidesAlike(index, row) {
  const on = index.sources.map((_, side) => side).filter((side) => isOn(index, row, side));
  return index.two && index.columns.kind[row] === "shape" ? on.slice(0, 1) : on;
}

/**
 * Return whether two sources differ in a row.
 * @type {(index: Index, row: number) => boolean}
 */
export function isChanged(index, row) {
  return index.two && index.columns.kind[row] !== null && index.columns.kind[row] !== "equal";
}

/**
 * Add the statistics of a row to the index.
 * @type {(index: Index, row: number, side: number, detail: StatisticsRecord) => void}
 */
export function learn(index, row, side, detail) {
  if (detail.spark && detail.spark_end !== undefined) index.sparks[side].set(row, detail.spark, detail.spark_end);
  if (side !== 0 && isOn(index, row, 0)) return;
  for (const word of STATISTICS) {
    if (detail.statistics && word in detail.statistics) index.columns[word][row] = numberOf(detail.statistics[word]);
  }
}

/**
 * Add the difference of a row to the index.
 * @type {(index: Index, row: number, comparison: Comparison) => void}
 */
export function learnChange(index, row, comparison) {
  index.columns.kind[row] = comparison.kind;
  index.columns.verdict[row] = comparison.verdict;
  for (const word of CHANGES) {
    index.columns[word][row] = numberOf(comparison[word]);
  }
}

/**
 * A number from JSON, in which NaN and Inf are words.
 * @type {(value: JsonNumber | undefined) => number | null}
 */
export function numberOf(value) {
  return value === null || value === undefined ? null : Number(value);
}

/** @type {(findings: Finding[], names: string[]) => (Finding[] | null)[]} */
function byRow(findings, names) {
  const rows = new Map(names.map((name, row) => [name, row]));
  /** @type {(Finding[] | null)[]} */
  const found = names.map(() => null);
  for (const one of findings) {
    const row = one.name === null ? undefined : rows.get(one.name);
    if (row !== undefined) (found[row] ??= []).push(one);
  }
  return found;
}

/**
 * The place in the vector at which each row starts; a tied weight counts once, at its first name.
 * @type {(columns: Columns) => Float64Array}
 */
function startsOf(columns) {
  const count = columns.name.length;
  const starts = new Float64Array(count + 1);
  for (let row = 0; row < count; row += 1) {
    const counted = columns.tied[row] === null && columns.present[row][0];
    starts[row + 1] = starts[row] + (counted ? columns.size[row] : 0);
  }
  return starts;
}

/**
 * The small histograms of all rows, each on an axis from -end to end.
 * @type {(packed: SparkRecord | null | undefined, roles: string[]) => Sparks}
 */
function sparksOf(packed, roles) {
  const [count, bins] = [roles.length, packed?.bins ?? 32];
  const cells = packed?.cells ?? new Uint8Array(count * bins);
  const ends = new Float32Array(count).fill(packed ? packed.end : 0);
  let axis = packed?.end ?? null;
  return {
    has: (row) => ends[row] > 0,
    end: (row) => ends[row],
    cells: (row) => cells.subarray(row * bins, (row + 1) * bins),
    set(row, found, end) {
      cells.set(found.subarray(0, bins), row * bins);
      ends[row] = end;
      if (!packed) axis = null;
    },
    axis: () => (axis ??= typical(ends, roles)),
  };
}

/**
 * A typical end of the axis: one weight with large numbers must not flatten all others.
 * @type {(ends: Float32Array, roles: string[]) => number}
 */
function typical(ends, roles) {
  const all = ends.filter((end) => end > 0);
  const main = ends.filter((end, row) => end > 0 && AXIS_ROLES.includes(roles[row]));
  const known = (main.length ? main : all).sort();
  return known.length ? known[Math.floor((known.length - 1) * 0.75)] : 1;
}
