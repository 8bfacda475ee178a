// @ts-check
// The small histograms of all rows, and the axis that they share: in a report both are given, a live page makes them of
// the outlines that it learns.

const BINS = 32;
/** Roles that set the common axis, if there are any: variances and counts would flatten all others. */
const AXIS_ROLES = ["kernel", "recurrent kernel", "bias"];
/** The share of all numbers that the axis covers: a few large ones must not flatten all others. */
const COVERED = 0.999;
/** A float32 that exceeds the end of the axis by this factor is that number itself, rounded. */
const NEARLY = 1 + 2 ** -23;
/** The points at which the numbers of a run of an outline are taken to be. */
const POINTS = 8;

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** @typedef {{ add(outline: Outline, role: string): void, end(): number }} Axis */

/**
 * The small histograms of the two sources, and the end of the axis on which all of them are.
 * @type {(index: Pick<IndexRecord, "spark" | "spark_before"> & { columns: Columns }) => { sparks: [after: Sparks, before: Sparks], axis(): number }}
 */
export function sparksOf({ spark, spark_before: before, columns }) {
  if (spark) return { sparks: [given(spark, columns), given(before ?? spark, columns)], axis: () => spark.end };
  const axis = growingAxis();
  return { sparks: [learned(axis, columns.role), learned(axis, columns.role)], axis: axis.end };
}

/**
 * Those of a report, which has none for a weight without details: its bins are empty, although its range is not beyond the axis.
 * @type {(record: SparkRecord, columns: Columns) => Sparks}
 */
function given({ bins, cells, end }, { min, max }) {
  /** @type {(row: number) => boolean} */
  const isFilled = (row) => {
    for (let at = row * bins; at < (row + 1) * bins; at += 1) if (cells[at]) return true;
    return false;
  };
  return {
    has: (row) => isFilled(row) || (max[row] ?? 0) < -end * NEARLY || (min[row] ?? 0) > end * NEARLY,
    cells: (row) => cells.subarray(row * bins, (row + 1) * bins),
    learn() {},
  };
}

/** @type {(axis: Axis, roles: string[]) => Sparks} */
function learned(axis, roles) {
  /** @type {Map<number, Outline>} */
  const outlines = new Map();
  /** @type {Map<number, { end: number, cells: Uint8Array }>} */
  const made = new Map();
  return {
    has: (row) => outlines.has(row),
    cells(row) {
      const [outline, end, found] = [outlines.get(row), axis.end(), made.get(row)];
      if (!outline) return new Uint8Array(BINS);
      if (found?.end === end) return found.cells;
      const cells = heightsOf(outline, end);
      made.set(row, { end, cells });
      return cells;
    },
    learn(row, outline) {
      if (outlines.has(row)) return;
      outlines.set(row, outline);
      axis.add(outline, roles[row]);
    },
  };
}

/**
 * The heights of bins from `-end` to `end`: 255 for the fullest, and at least 1 for each that is not empty. The numbers of
 * a run are spread evenly from its lowest to its highest; those beyond the axis are in no bin.
 * @type {(outline: Outline, end: number) => Uint8Array}
 */
export function heightsOf({ low, high, counts }, end) {
  const [sums, step] = [new Float64Array(BINS), (2 * end) / BINS];
  /** @type {(value: number) => number} */
  const binOf = (value) => Math.max(0, Math.min(BINS - 1, Math.floor((value + end) / step)));
  for (let run = 0; run < counts.length; run += 1) {
    const [from, to] = [low[run], high[run]];
    if (to < -end * NEARLY || from > end * NEARLY) continue;
    const [first, last] = [binOf(from), binOf(to)];
    for (let bin = first; bin <= last; bin += 1) {
      const within = Math.min(to, (bin + 1) * step - end) - Math.max(from, bin * step - end);
      sums[bin] += to > from ? (counts[run] * Math.max(within, 0)) / (to - from) : counts[run];
    }
  }
  const fullest = sums.reduce((most, sum) => Math.max(most, sum), 0);
  return Uint8Array.from(sums, (sum) => (sum ? Math.ceil((sum / fullest) * 255) : 0));
}

/**
 * An axis that grows with the outlines that are added, as that of a report does with its weights.
 * @type {() => Axis}
 */
function growingAxis() {
  const [main, all] = [new Float64Array(1 << 15), new Float64Array(1 << 15)];
  /** @type {number | null} */
  let end = null;
  return {
    add({ low, high, counts }, role) {
      const kept = AXIS_ROLES.includes(role) ? [main, all] : [all];
      for (let run = 0; run < counts.length; run += 1) {
        for (let point = 0; point < POINTS; point += 1) {
          const half = halfOf(low[run] + ((high[run] - low[run]) * (point + 0.5)) / POINTS);
          for (const each of kept) each[half] += counts[run] / POINTS;
        }
      }
      end = null;
    },
    end: () => (end ??= endOf(main.some(Boolean) ? main : all)),
  };
}

/**
 * The end of the axis that covers magnitudes, which are counted by the upper half of a float32; 1 if all are zero.
 * @type {(counts: Float64Array) => number}
 */
function endOf(counts) {
  if (!counts.subarray(1).some(Boolean)) return 1;
  const total = counts.reduce((sum, count) => sum + count, 0);
  let [half, reached] = [0, counts[0]];
  while (reached < COVERED * total && half < counts.length - 1) reached += counts[(half += 1)];
  return roundedUp(magnitudeOf(half));
}

/** @type {(value: number) => number} */
function halfOf(value) {
  float[0] = Math.abs(value);
  return bits[0] >>> 16;
}

/** @type {(half: number) => number} */
function magnitudeOf(half) {
  bits[0] = half ? (half << 16) | 0x8000 : 0;
  return float[0];
}

/**
 * A number rounded up to 1, 2, 3 or 5 times a power of ten.
 * @type {(number: number) => number}
 */
export function roundedUp(number) {
  if (number <= 0) return 1;
  const power = Math.floor(Math.log10(number));
  const step = [1, 2, 3, 5, 10].find((each) => each * 10 ** power >= number * 0.99) ?? 10;
  const found = Number(`${step}e${power}`);
  return found > 0 && found < Infinity ? found : number;
}
