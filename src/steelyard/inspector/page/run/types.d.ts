// Types of the page of a run.

/** What run_page.py sends: arrays of records times weights have all weights of the first record, then those of the next. */
interface RunRecord {
  title: string;
  sentence: string;
  notes: string[];
  alarms: string[];
  records: number;
  /** The number of all records; some of many are not sent. */
  known: number;
  steps: Float64Array;
  epochs: (number | null)[];
  metrics: { name: string; values: Float64Array }[];
  names: string[];
  shapes: number[][];
  roles: string[];
  norms: Float32Array;
  ratios: Float32Array;
  band: [low: number, high: number];
  /** The record of each histogram, and for each and each weight the range and the heights, 255 for the fullest bin. */
  histograms: { rows: Int32Array; low: Float64Array; high: Float64Array; heights: Uint8Array; bins: number };
  /** Two numbers for each record; NaN where a weight is not finite. */
  path: { points: Float32Array; shares: number[] };
}

/** The records, or null if there are no others than the given number. */
type LoadRun = (known: number) => Promise<RunRecord | null>;

interface Curve {
  label: string;
  values: ArrayLike<number>;
  log: boolean;
  band?: [low: number, high: number];
}
