// @ts-check
// The layers of a net by their names, for a net whose graph is not known.

import { lastPart } from "./layers.js";

/** Weights of a layer whose shapes are written out. */
const SHAPES = 8;

/**
 * Return the record of an architecture with the layers of the tree by names that a record of sizes has.
 * @type {(record: ArchitectureRecord, size: SizeRecord, index: Index) => ArchitectureRecord}
 */
export function byNames(record, size, index) {
  if (size.error) return record;
  const held = weightsOf(index);
  const rows = size.rows.map((row) => ({ ...row, ...NOTHING, layers: row.leaf ? 1 : 2, shapes: row.leaf ? shapesOf(index, held, row.row) : {} }));
  return { ...record, rows, hidden: size.hidden };
}

const NOTHING = { what: "", kind: "", input_shape: null, output_shape: null, sources: [] };

/**
 * The rows of the weights of each layer.
 * @type {(index: Index) => Map<string, number[]>}
 */
function weightsOf({ count, columns }) {
  /** @type {Map<string, number[]>} */
  const held = new Map();
  for (let row = 0; row < count; row += 1) {
    const layer = columns.layer[row] || columns.name[row];
    const known = held.get(layer);
    if (known) known.push(row);
    else held.set(layer, [row]);
  }
  return held;
}

/** @type {(index: Index, held: Map<string, number[]>, first: number) => Record<string, number[]>} */
function shapesOf(index, held, first) {
  const rows = first < 0 ? [] : held.get(index.columns.layer[first] || index.columns.name[first]) ?? [];
  return Object.fromEntries(rows.slice(0, SHAPES).map((row) => [lastPart(index, row), index.columns.shape[row]]));
}
