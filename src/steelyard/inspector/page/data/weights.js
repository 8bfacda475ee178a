// @ts-check
// The index of the page: the facts of every weight by its row.

import { ascending } from "./layers.js";
import { sparksOf } from "./sparks.js";
import { shownName } from "./text.js";
import { thumbsOf } from "./thumbs.js";

/** @type {RowStatistic[]} */
const STATISTICS = ["min", "max", "mean", "std", "l2", "zeros", "nan", "inf"];
/** @type {("changed" | "max_abs" | "relative" | "cosine" | "nonfinite" | "rank")[]} */
const CHANGES = ["changed", "max_abs", "relative", "cosine", "nonfinite", "rank"];
/** What a row of one source has: it is on that side. */
const ALONE = [true];
const SEVERITIES = ["info", "warning", "error"];

/**
 * Prepare an index for the page: names that may be shown, numbers, findings by row, places in the vector.
 * @type {(index: IndexRecord) => Index}
 */
export function prepared(index) {
  const columns = columnsOf(listed(index.columns));
  const count = columns.name.length;
  const shown = columns.name.map(shownName);
  /** @type {string[] | null} */
  let lowered = null;
  const findings = index.findings ?? [];
  const findingsOf = byRow(findings, columns.name);
  return {
    live: index.live,
    notes: index.notes ?? [],
    headline: shownName(index.headline || " ").trim(),
    changed: shownName(index.changed || " ").trim(),
    sources: index.sources,
    columns,
    count,
    shown,
    shared: sharedBy(shown),
    get lowered() {
      return (lowered ??= shown.map((name) => name.toLowerCase()));
    },
    two: index.sources.length > 1,
    findings,
    findingsOf,
    worst: findingsOf.map((found) => (found ? worstOf(found) : -1)),
    inVector: inVector(columns),
    thumbs: thumbsOf(),
    ...sparksOf({ ...index, columns }),
  };
}

/**
 * The number of letters with which all names begin, up to the end of a word.
 * @type {(names: string[]) => number}
 */
export function sharedBy(names) {
  let [shared = ""] = names;
  for (const name of names) {
    while (shared && !name.startsWith(shared)) shared = shared.slice(0, Math.max(shared.search(/[^./]*[./]?$/), 0));
  }
  return names.length > 1 ? shared.search(/[^./]*$/) : 0;
}

/**
 * Make lists of the columns, which `columns.py` has packed.
 * @type {(columns: PackedColumns) => ColumnsRecord}
 */
function listed(columns) {
  const lists = Object.entries(columns).map(([word, column]) => [word, listOf(column, columns.name)]);
  return /** @type {ColumnsRecord} */ (Object.fromEntries(lists));
}

/** @type {(column: PackedColumn, names: string[]) => ArrayLike<unknown>} */
function listOf(column, names) {
  if ("of" in column) return Array.from(column.at, (nth) => column.of[nth]);
  if ("floats" in column) return Array.from(column.floats, (value) => (Number.isNaN(value) ? null : value));
  if ("letters" in column) return names.map((name, row) => name.slice(0, column.letters[row]));
  return column;
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
    present: columns.present ?? columns.name.map(() => ALONE),
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
 * Add what is known of a row to the index: its statistics, and its tiny picture; from a live page also what is wrong with it.
 * @type {(index: Index, row: number, side: number, detail: StatisticsRecord) => void}
 */
export function learn(index, row, side, detail) {
  if (detail.outline) index.sparks[side].learn(row, detail.outline);
  if (side !== 0 && isOn(index, row, 0)) return;
  index.thumbs.learn(row, detail);
  if (side === 0) learnFindings(index, row, detail.findings ?? []);
  for (const word of STATISTICS) {
    if (detail.statistics && word in detail.statistics) index.columns[word][row] = numberOf(detail.statistics[word]);
  }
}

/**
 * What the index has of the statistics of a row; null where its numbers are not known.
 * @type {(index: Index, row: number) => Statistics | null}
 */
export function statisticsOf({ columns }, row) {
  if (numberOf(columns.max[row]) === null) return null;
  const { min, max, mean, std, l2, zeros, nan, inf } = columns;
  return { min: min[row], max: max[row], mean: mean[row], std: std[row], l2: l2[row], zeros: zeros[row], nan: nan[row], inf: inf[row] };
}

/** @type {(index: Index, row: number, found: Finding[]) => void} */
function learnFindings(index, row, found) {
  const known = new Set((index.findingsOf[row] ?? []).map(({ rule, what }) => `${rule} ${what}`));
  const fresh = found.filter(({ rule, what }) => !known.has(`${rule} ${what}`));
  if (!fresh.length) return;
  index.findings.push(...fresh);
  index.findingsOf[row] = [...(index.findingsOf[row] ?? []), ...fresh];
  index.worst[row] = worstOf(index.findingsOf[row]);
}

/** @type {(findings: Finding[] | null) => number} */
function worstOf(findings) {
  return Math.max(-1, ...(findings ?? []).map((one) => SEVERITIES.indexOf(one.severity)));
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
  /** @type {(Finding[] | null)[]} */
  const found = names.map(() => null);
  if (!findings.length) return found;
  const rows = new Map(names.map((name, row) => [name, row]));
  for (const one of findings) {
    const row = one.name === null ? undefined : rows.get(one.name);
    if (row !== undefined) (found[row] ??= []).push(one);
  }
  return found;
}

/**
 * The rows that have entries in the vector, in the order of the vector, which may be another than that of the rows.
 * @type {(columns: Columns) => number[]}
 */
function inVector(columns) {
  /** @type {number[]} */
  const rows = [];
  columns.size.forEach((size, row) => size > 0 && columns.start[row] >= 0 && rows.push(row));
  return ascending(rows, (row) => columns.start[row]);
}
