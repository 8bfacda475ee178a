// @ts-check
// The rows of the table: their selection and their order.

import { isChanged } from "./weights.js";

const NAMES = new Intl.Collator("en", { numeric: true });

/**
 * The rows that match: every word of `text` in the name, the role, and the switches; `rows` are those of a layer, null for all.
 * @type {(index: Index, wanted: Wanted) => number[]}
 */
export function kept(index, { text = "", role = "", rows = null, found = false, changed = false }) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = [];
  const length = rows ? rows.length : index.count;
  for (let nth = 0; nth < length; nth += 1) {
    const row = rows ? rows[nth] : nth;
    if (role && index.columns.role[row] !== role) continue;
    if (found && !index.findingsOf[row]) continue;
    if (changed && !isChanged(index, row)) continue;
    if (words.every((word) => index.lowered[row].includes(word))) fits.push(row);
  }
  return fits;
}

/**
 * Sort rows by a column. Rows without a value come last in both directions, and equal rows keep their order.
 * @type {(rows: number[], keys: SortKeys, descending: boolean) => number[]}
 */
export function sorted(rows, keys, descending) {
  const turn = descending ? -1 : 1;
  return rows.slice().sort((one, other) => {
    const [a, b] = [valueOf(keys[one]), valueOf(keys[other])];
    if (a === null || b === null) return Number(a === null) - Number(b === null) || one - other;
    return turn * (a < b ? -1 : a > b ? 1 : 0) || one - other;
  });
}

/**
 * The rank of each text, so that sorting compares numbers; 2 comes before 10 in names.
 * @type {(texts: string[]) => Float64Array}
 */
export function ranks(texts) {
  const distinct = [...new Set(texts)].sort(NAMES.compare);
  const places = new Map(distinct.map((text, nth) => [text, nth]));
  return Float64Array.from(texts, (text) => places.get(text) ?? 0);
}

/** @type {(key: SortKeys[number]) => string | number | null} */
function valueOf(key) {
  return key === undefined || Number.isNaN(key) ? null : key;
}
