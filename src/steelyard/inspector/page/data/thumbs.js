// @ts-check
// Tiny pictures of the rows, made of the pictures that the page gets anyway.

/** The most cells of a tiny picture across and down. */
const [ACROSS, DOWN] = [23, 10];
/** The share of cells within the colours, and the part of the colours that they leave to others. */
const [USUAL, ROOM] = [0.9, 1.3];

/**
 * The tiny pictures that are known so far.
 * @type {() => Thumbs}
 */
export function thumbsOf() {
  /** @type {Map<number, Thumb>} */
  const known = new Map();
  return {
    of: (row) => known.get(row),
    learn(row, { filters, picture }) {
      if (filters) known.set(row, filters);
      else if (picture && !known.has(row)) known.set(row, reduced(picture));
    },
  };
}

/**
 * A picture of few cells, each the mean of those that it covers, so that rows and columns show; -128 is one that is not finite.
 * @type {(picture: Picture) => Thumb}
 */
export function reduced({ rows, columns, height, width, cells }) {
  const [down, across] = [Math.ceil(height / DOWN), Math.ceil(width / ACROSS)];
  const [high, wide] = [Math.ceil(height / down), Math.ceil(width / across)];
  const [sums, counts] = [new Float64Array(high * wide), new Float64Array(high * wide)];
  const lost = cells instanceof Int8Array ? -128 : Number.NaN;
  for (let nth = 0; nth < height * width; nth += 1) {
    const at = Math.floor(Math.floor(nth / width) / down) * wide + Math.floor((nth % width) / across);
    sums[at] += Object.is(cells[nth], lost) ? Number.NaN : cells[nth];
    counts[at] += 1;
  }
  return { rows, columns, height: high, width: wide, cells: stretched(sums.map((sum, at) => sum / counts[at])) };
}

/**
 * The cells in 255 steps. The last colour stands for more than the usual magnitude, or all would look pale beside an outlier.
 * @type {(cells: Float64Array) => Int8Array}
 */
function stretched(cells) {
  const sizes = cells.map(Math.abs).filter((size) => !Number.isNaN(size)).sort();
  const most = (sizes[Math.floor((sizes.length - 1) * USUAL)] || sizes[sizes.length - 1] || 1) * ROOM;
  return Int8Array.from(cells, (cell) => (Number.isNaN(cell) ? -128 : Math.max(-127, Math.min(127, (cell / most) * 127))));
}
