// Which rows are shown, and in which order.

import { isChanged } from "./weights.js";

const NAMES = new Intl.Collator("en", { numeric: true });

/** Rows that fit: every word of `text` in the name, the role, and the switches. `rows` are those of a layer, or all. */
export function kept(index, { text = "", role = "", rows = null, found = false, changed = false }) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = [];
  const all = rows ?? index.count;
  const length = rows ? rows.length : all;
  for (let nth = 0; nth < length; nth += 1) {
    const row = rows ? rows[nth] : nth;
    if (role && index.columns.role[row] !== role) continue;
    if (found && !index.found[row]) continue;
    if (changed && !isChanged(index, row)) continue;
    if (words.every((word) => index.lowered[row].includes(word))) fits.push(row);
  }
  return fits;
}

/** Sort rows by a column; those without a value come last either way, and equal ones stay in order. */
export function sorted(rows, keys, descending) {
  const turn = descending ? -1 : 1;
  const lacking = (key) => key === null || key === undefined || Number.isNaN(key);
  return rows.slice().sort((one, other) => {
    const [a, b] = [keys[one], keys[other]];
    if (lacking(a) || lacking(b)) return lacking(a) - lacking(b) || one - other;
    return turn * (a < b ? -1 : a > b ? 1 : 0) || one - other;
  });
}

/** The place of each text among all, so that sorting by it compares numbers. Names count as people do: 2 before 10. */
export function ranks(texts) {
  const distinct = [...new Set(texts)].sort(NAMES.compare);
  const places = new Map(distinct.map((text, nth) => [text, nth]));
  return Float64Array.from(texts, (text) => places.get(text));
}
