// @ts-check
// Places in weights: an index such as `fc1.weight[3, 7]`, or an entry of the vector.

import { indexText, whole } from "./text.js";

/** @typedef {{ error: string }} Refusal */

/**
 * Find the place that a text names; `at` is the number of the entry in the weight, null for the whole weight.
 * @type {(index: Index, text: string) => Place | Refusal}
 */
export function found(index, text) {
  const asked = text.trim();
  if (!asked) return { error: "Enter a name, an index such as fc1.weight[3, 7], or the number of an entry." };
  const row = rowOf(index, asked);
  if (row >= 0) return { row, at: null };
  if (/^[\d,_]+$/.test(asked)) return entry(index, Number(asked.replace(/[,_]/g, "")));
  const parts = /^(.*?)\s*\[([^[\]]*)\]$/s.exec(asked);
  if (!parts) return { error: `No weight is called ${asked}.` };
  const named = rowOf(index, parts[1]);
  if (named < 0) return { error: parts[1] ? `No weight is called ${parts[1]}.` : "An index needs a name before it: fc1.weight[3, 7]." };
  return within(index, named, parts[2]);
}

/**
 * The index of an entry of a weight of this shape.
 * @type {(at: number, shape: number[]) => number[]}
 */
export function unravelled(at, shape) {
  const index = new Array(shape.length);
  let rest = at;
  for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
    index[axis] = rest % shape[axis];
    rest = Math.floor(rest / shape[axis]);
  }
  return index;
}

/**
 * The number of an entry in a weight of this shape; null for an index that the shape does not have.
 * @type {(shape: number[], index: number[]) => number | null}
 */
export function entryAt(shape, index) {
  const isOn = index.length === shape.length && index.every((place, axis) => place < shape[axis]);
  return isOn ? index.reduce((sum, place, axis) => sum * shape[axis] + place, 0) : null;
}

/**
 * The number that an entry of a weight has in the vector; null if the weight is not counted there.
 * @type {(index: Index, row: number, at: number) => number | null}
 */
export function entryOf(index, row, at) {
  const { start, size } = index.columns;
  return start[row] < 0 || !size[row] ? null : start[row] + at;
}

/**
 * Write a place in full: fc1.weight[3, 7].
 * @type {(index: Index, row: number, at: number) => string}
 */
export function placeText(index, row, at) {
  return index.shown[row] + indexText(unravelled(at, index.columns.shape[row]));
}

/** @type {(index: Index, number: number) => Place | Refusal} */
function entry(index, number) {
  const { start, size } = index.columns;
  const last = index.inVector.at(-1);
  const total = last === undefined ? 0 : start[last] + size[last];
  if (!(number < total)) return { error: `The vector has entries 0 to ${whole(total - 1)}.` };
  let [low, high] = [0, index.inVector.length];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (start[index.inVector[middle]] <= number) low = middle;
    else high = middle;
  }
  const row = index.inVector[low];
  return { row, at: number - start[row] };
}

/** @type {(index: Index, row: number, text: string) => Place | Refusal} */
function within(index, row, text) {
  const shape = index.columns.shape[row];
  const words = text.split(",").map((word) => word.trim());
  const places = text.trim() === "" ? [] : words.map(Number);
  if (words.some((word) => word !== "" && !/^\d+$/.test(word)) || (places.length && words.includes("")))
    return { error: `[${text}] is not an index: use whole numbers from 0, as in [3, 7].` };
  if (places.length !== shape.length)
    return { error: `${index.shown[row]} has ${shape.length} axes: [${shape.join(", ")}]; the index has ${places.length}.` };
  const beyond = places.findIndex((place, axis) => place >= shape[axis]);
  if (beyond >= 0) return { error: `Axis ${beyond} of ${index.shown[row]} has entries 0 to ${shape[beyond] - 1}.` };
  return { row, at: entryAt(shape, places) };
}

/**
 * The row of a name, or of an ending that only one name has; -1 for any other text.
 * @type {(index: Index, name: string) => number}
 */
function rowOf(index, name) {
  const exact = index.columns.name.indexOf(name);
  if (exact >= 0 || !name) return exact;
  const shown = index.shown.indexOf(name);
  if (shown >= 0) return shown;
  const ends = [".", "/"].flatMap((mark) => index.shown.flatMap((each, row) => (each.endsWith(mark + name) ? [row] : [])));
  return ends.length === 1 ? ends[0] : -1;
}
