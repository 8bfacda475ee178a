// Types of the page, which every module knows without an import. Browsers never load this file.

// The records that api.py and report_data.py send.

/** A number in JSON: one that is not finite comes as a word. */
type JsonNumber = number | "NaN" | "Infinity" | "-Infinity" | null;
type Severity = "info" | "warning" | "error";
/** How a row of two sources differs. */
type Kind = "equal" | "changed" | "added" | "removed" | "shape" | "renamed";
/** The statistics that a row of the table has. */
type RowStatistic = "min" | "max" | "mean" | "std" | "l2" | "zeros" | "nan" | "inf";
type Quantile = "q01" | "q05" | "q25" | "median" | "q75" | "q95" | "q99";
type Statistic = RowStatistic | Quantile | "count" | "l1" | "rms" | "near_zeros";
type Statistics = Partial<Record<Statistic, JsonNumber>>;

interface SourceRecord {
  name: string;
  weights: number;
  tied: number;
  amount: string;
  bytes: number;
  notes: string[];
}

interface Finding {
  kind: string;
  rule: string;
  severity: Severity;
  name: string | null;
  what: string;
  place: number[] | null;
}

/** Facts of all rows; those of the second group are sent for two sources only. */
interface ColumnsRecord extends Record<RowStatistic, JsonNumber[]> {
  name: string[];
  layer: (string | null)[];
  shape: number[][];
  dtype: string[];
  role: string[];
  axes: string[];
  trainable: (boolean | null)[];
  tied: (string | null)[];
  encoding: string[];
  matrix: [rows: number, columns: number][];
  /** The entry of the vector at which each row starts; -1 for a row without entries of its own. */
  start: Float64Array;
  size: Float64Array;
  bytes: Float64Array;

  present?: boolean[][];
  name_before?: string[];
  kind?: (Kind | null)[];
  verdict?: string[];
  changed?: JsonNumber[];
  max_abs?: JsonNumber[];
  relative?: JsonNumber[];
  cosine?: JsonNumber[];
  /** Entries that are NaN or infinite on one side, and different on the other. */
  nonfinite?: JsonNumber[];
  /** The rank of a low-rank change, null for any other. */
  rank?: JsonNumber[];
}

/** A column in less room than a list: few items, numbers with NaN for null, or the beginnings of names. */
type PackedColumn =
  | ArrayLike<unknown>
  | { of: unknown[]; at: Uint8Array | Uint16Array }
  | { floats: Float32Array | Float64Array }
  | { letters: Uint32Array };

interface PackedColumns extends Record<string, PackedColumn> {
  name: string[];
}

/** Small histograms of all rows on one axis from -end to end. */
interface SparkRecord {
  end: number;
  bins: number;
  cells: Uint8Array;
}

interface IndexRecord {
  version: string;
  live: boolean;
  notes: string[];
  sources: SourceRecord[];
  columns: PackedColumns;
  spark: SparkRecord | null;
  spark_before?: SparkRecord | null;
  /** The net in one sentence. */
  headline?: string;
  /** What changed since the older source in one sentence; blank until all weights are compared. */
  changed?: string;
  findings: Finding[];
}

/** Counts of each bin, or heights up to 255 in a report. */
interface Histogram {
  low: number;
  high: number;
  counts: Uint8Array | Uint32Array;
  exact: boolean;
}

/** The first row and column of a part of a matrix, and the ones after its last. */
type MatrixWindow = [top: number, left: number, bottom: number, right: number];
type Cell = [row: number, column: number];

/** A part of a matrix in cells of `down` rows and `across` columns; Int8Array has steps of 1/127 of the scale. */
interface Picture {
  rows: number;
  columns: number;
  window: MatrixWindow;
  down: number;
  across: number;
  height: number;
  width: number;
  scale: number;
  cells: Int8Array | Float32Array | Float64Array;
  caption: string;
}

interface Filters {
  count: number;
  guessed: boolean;
  units: string[];
  height: number;
  width: number;
  colours: number;
  scale: number;
  cells: Int8Array;
}

interface Spectrum {
  values: Float32Array;
  known: number;
  shape: number[];
  edge: number;
  spectral_norm: number;
  stable_rank: number | null;
  effective_rank: number | null;
  rank: number | null;
  method: string;
  error: number | null;
  beyond: number;
}

/** A reduced histogram: runs in ascending order, each with its lowest and its highest number, and its count. */
interface Outline {
  low: Float32Array;
  high: Float32Array;
  counts: Float32Array;
}

interface StatisticsRecord {
  statistics?: Statistics;
  outline?: Outline;
  picture?: Picture | null;
  findings?: Finding[];
}

interface Detail extends StatisticsRecord {
  error?: string;
  /** Why a report leaves out the rest, which is no fault of the weight. */
  left_out?: string;
  histogram?: Histogram | null;
  filters?: Filters | null;
  spectrum?: Spectrum | null;
  spectrum_why?: string;
  difference?: Picture | null;
  images?: ImagesRecord | null;
  heads?: HeadsRecord | null;
  points?: PointsRecord | null;
}

interface Comparison {
  kind: Kind | null;
  verdict: string;
  changed: JsonNumber;
  max_abs: JsonNumber;
  relative: JsonNumber;
  cosine: JsonNumber;
  nonfinite: JsonNumber;
  rank: JsonNumber;
  difference: Picture | null;
}

/** The answers of the local server by the last part of their address. */
interface Answers {
  index: IndexRecord;
  detail: Detail;
  statistics: StatisticsRecord;
  picture: { picture: Picture };
  values: { texts: string[] };
  compare: Comparison;
  net: NetRecords[keyof NetRecords];
  heads: HeadsRecord;
}

// What the page asks, of a server or of the packs in a report.

type DownloadFormat = "npy" | "npz" | "safetensors";

interface LiveApi {
  live: true;
  index(): Promise<IndexRecord>;
  net: AskNet;
  detail(row: number, side: number): Promise<Detail>;
  statistics(row: number, side: number): Promise<StatisticsRecord>;
  heads(row: number, side: number, count: number): Promise<HeadsRecord>;
  picture(row: number, side: number, window: MatrixWindow, height: number, width: number): Promise<Picture>;
  values(row: number, side: number, window: MatrixWindow): Promise<string[]>;
  compare(row: number): Promise<Comparison>;
  download: ((row: number | null, side: number, format: DownloadFormat) => string) | null;
}

/** A report contains its details; answers that need the file are not available. */
interface ReportApi extends Record<Exclude<keyof LiveApi, "live" | "index" | "net" | "detail">, null> {
  live: false;
  index(): Promise<IndexRecord>;
  net: AskNet;
  detail(row: number, side: number): Promise<Detail>;
}

type Api = LiveApi | ReportApi;

// What the modules make of the records.

type NumberColumn = RowStatistic | "changed" | "max_abs" | "relative" | "cosine" | "nonfinite" | "rank";

/** The columns of a prepared index: all are there, and their numbers are numbers. */
type Columns = Required<Omit<ColumnsRecord, NumberColumn>> & Record<NumberColumn, (number | null)[]>;

/** The small histograms of all rows, on the axis that they share. */
interface Sparks {
  has(row: number): boolean;
  cells(row: number): Uint8Array;
  learn(row: number, outline: Outline): void;
}

/** A tiny picture of a weight: a few cells in 255 steps, or the first filters of a convolution. */
type Thumb = Pick<Picture, "height" | "width" | "rows" | "columns"> & { cells: Int8Array } | Filters;

interface Thumbs {
  of(row: number): Thumb | undefined;
  learn(row: number, detail: StatisticsRecord & { filters?: Filters | null }): void;
}

interface Index {
  live: boolean;
  notes: string[];
  headline: string;
  changed: string;
  sources: SourceRecord[];
  columns: Columns;
  count: number;
  /** Names as they may be shown, and the same in lower case. */
  shown: string[];
  /** The letters with which all of them begin. */
  shared: number;
  lowered: string[];
  /** Whether two sources are compared. */
  two: boolean;
  findings: Finding[];
  /** The findings of each row, and the number of their worst severity, -1 for none. */
  findingsOf: (Finding[] | null)[];
  worst: number[];
  /** The rows with entries in the vector, in the order of the vector. */
  inVector: number[];
  sparks: [after: Sparks, before: Sparks];
  thumbs: Thumbs;
  /** The end of the axis on which all small histograms are drawn. */
  axis(): number;
}

interface Layer {
  label: string;
  parent: Layer | null;
  level: number;
  layers: Map<string, Layer>;
  /** Rows of the weights of the layer itself, and of all below it. */
  weights: number[];
  rows: number[];
  size: number;
  /** Layers and rows in the order of the file. */
  inOrder: (Layer | number)[];
  open: boolean;
}

/** Rows that are named together below a picture. */
type Band = Pick<Layer, "label" | "rows"> & Partial<Layer>;

/** A line of the tree: a layer, or a weight by its row. */
interface TreeLine {
  layer: Layer | null;
  row: number;
  level: number;
  parent: Layer | null;
  /** Its place among its siblings, from 1, and their number. */
  nth: number;
  among: number;
}

/** A weight and an entry of it, null for the whole weight. */
interface Place {
  row: number;
  at: number | null;
}

interface Wanted {
  text?: string;
  role?: string;
  rows?: number[] | null;
  found?: boolean;
  changed?: boolean;
}

interface SortKeys extends ArrayLike<number | string | null | undefined> {}

/** A column of the table; one without text is drawn by the table. */
interface Column {
  key: string;
  title: string;
  width: number;
  right?: boolean;
  hint?: string;
  text?(row: number): string;
  keys?(): SortKeys;
}

interface Sorting {
  key: string | null;
  descending: boolean;
}

interface VirtualList {
  draw(force?: boolean): void;
  show(count: number, settle?: () => void): void;
  reveal(nth: number, covered?: number): void;
  inSight(): number[];
  print(count: number): void;
  perPage(): number;
}

type RoleGroup = "kernel" | "embedding" | "bias" | "scale" | "statistic" | "other";

interface Theme {
  ink: string;
  muted: string;
  line: string;
  panel: string;
  accent: string;
  soft: string;
  /** Colours from -127 to 127 as bytes. */
  scale: Uint8ClampedArray;
  accentBytes: number[];
  panelBytes: number[];
  /** The colour of each group of roles, as CSS and as bytes. */
  roles: Record<RoleGroup, string>;
  roleBytes: Record<RoleGroup, number[]>;
}

/** What an element may have as a child: a node, text, or nothing. */
type Child = Node | string | null | undefined | false | 0;
type Listeners = { [Name in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[Name]) => void };

/** A tab, whose panel is made when it is first shown; its `tools` are beside the heads of the tabs. */
interface Tab {
  key: string;
  title: string;
  make(): Node;
  tools?: HTMLElement;
}

/** A weight that is open: its details and the names of the sources, in the order of the sides. */
interface Scene {
  index: Index;
  row: number;
  api: Api;
  details: (Detail | null)[];
  names: string[];
}

/** A grid of numbers that can go to an entry. */
interface Grid {
  element: HTMLElement;
  go(at: number): void;
}

/** A heat map, which shows a picture and rings the cell of an entry. */
interface HeatMap {
  element: HTMLElement;
  show(picture: Picture, scale?: number, clipped?: boolean): void;
  mark(at: number | null): void;
}

/** Ready for the tests. */
interface Window {
  __ready?: boolean;
}
