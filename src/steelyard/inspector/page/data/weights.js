// The index of the page: what is known of every weight, by the number of its row.

import { shownName } from "./text.js";

const STATISTICS = ["min", "max", "mean", "std", "l2", "zeros", "nan", "inf"];
const CHANGES = ["kind", "verdict", "changed", "max_abs", "relative", "cosine"];
/** Roles whose numbers set the axis, where there are any: a variance or a count would flatten all others. */
const AXIS_ROLES = ["kernel", "recurrent kernel", "bias"];
const SEVERITIES = ["info", "warning", "error"];

/** Make an index ready for the page: names as they are shown, numbers as numbers, findings by row, places in the vector. */
export function prepared(index) {
  const columns = index.columns;
  const count = columns.name.length;
  columns.name = Array.from(columns.name);
  const shown = columns.name.map(shownName);
  for (const word of [...STATISTICS, "max_abs", "relative", "cosine"]) {
    if (columns[word]) columns[word] = Array.from(columns[word], numberOf);
  }
  for (const word of STATISTICS) columns[word] ??= new Array(count).fill(null);
  const found = byRow(index, count);
  return {
    ...index,
    count,
    shown,
    lowered: shown.map((name) => name.toLowerCase()),
    two: index.sources.length > 1,
    findings: index.findings ?? [],
    found,
    worst: found.map((list) => Math.max(-1, ...(list ?? []).map((one) => SEVERITIES.indexOf(one.severity)))),
    starts: startsOf(columns, count, index.sources.length > 1),
    sparks: [sparksOf(index.spark, columns.role), sparksOf(index.spark_before, columns.role)],
  };
}

/** Tell whether a row stands on a side. */
export function isOn(index, row, side) {
  return index.two ? Boolean(index.columns.present[row][side]) : side === 0;
}

/** The sides that have a row, the older one only where its places are the same. */
export function sidesAlike(index, row) {
  const on = index.sources.map((_, side) => side).filter((side) => isOn(index, row, side));
  return index.two && index.columns.kind[row] === "shape" ? on.slice(0, 1) : on;
}

/** Tell whether two sides differ in a row. */
export function isChanged(index, row) {
  return index.two && index.columns.kind[row] !== null && index.columns.kind[row] !== "equal";
}

/** Write what has been read of a row into the index. */
export function learn(index, row, side, detail) {
  if (detail.spark) index.sparks[side].set(row, detail.spark, detail.spark_end);
  if (side !== 0 && isOn(index, row, 0)) return;
  for (const word of STATISTICS) {
    if (detail.statistics && word in detail.statistics) index.columns[word][row] = numberOf(detail.statistics[word]);
  }
}

/** Write what differs in a row into the index. */
export function learnChange(index, row, told) {
  for (const word of CHANGES) {
    if (word in told) index.columns[word][row] = word === "kind" || word === "verdict" ? told[word] : numberOf(told[word]);
  }
}

/** A number as JSON tells it: those that are not finite come as words. */
export function numberOf(value) {
  return value === null || value === undefined ? null : Number(value);
}

function byRow(index, count) {
  const rows = new Map(index.columns.name.map((name, row) => [name, row]));
  const found = new Array(count).fill(null);
  for (const one of index.findings ?? []) {
    const row = one.name === null ? undefined : rows.get(one.name);
    if (row !== undefined) (found[row] ??= []).push(one);
  }
  return found;
}

// A weight that is tied to another counts once in the vector, at its first name.
function startsOf(columns, count, two) {
  const starts = new Float64Array(count + 1);
  for (let row = 0; row < count; row += 1) {
    const counted = columns.tied[row] === null && (!two || columns.present[row][0]);
    starts[row + 1] = starts[row] + (counted ? columns.size[row] : 0);
  }
  return starts;
}

// Histograms of all rows, each on an axis from -end to end.
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

// One weight with large numbers must not flatten all the others.
function typical(ends, roles) {
  const all = ends.filter((end) => end > 0);
  const main = ends.filter((end, row) => end > 0 && AXIS_ROLES.includes(roles[row]));
  const known = (main.length ? main : all).sort();
  return known.length ? known[Math.floor((known.length - 1) * 0.75)] : 1;
}
