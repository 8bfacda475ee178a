// Types of the views of the whole net, which every module knows without an import. Browsers never load this file.

// The records that net.py sends.

/** The place of each row in the grid of blocks, -1 for one outside of them; `notes` say why a row has no number. */
interface GridRecord {
  error?: string;
  kind: "blocks" | "layers" | "weights";
  rows: string[];
  columns: string[];
  hidden: number;
  down: Int32Array;
  across: Int32Array;
  outside: number[];
  notes: Record<string, string>;
}

/** A layer in a tree by names, and its first weight's `row`, -1 for none. */
interface SizeRow {
  name: string;
  label: string;
  depth: number;
  times: number;
  parameters: number;
  share: number;
  buffers: number;
  other: number;
  nbytes: number;
  tied: number;
  leaf: boolean;
  role: string;
  row: number;
}

interface SizeRecord {
  error?: string;
  parameters: number;
  trainable: number;
  frozen: number;
  unknown: number;
  buffers: number;
  other: number;
  tied: number;
  nbytes: number;
  training: number;
  beside: { optimizer: number; optimizer_bytes: number; rest: number; rest_bytes: number };
  encodings: Record<string, { nbytes: number; note: string }>;
  rows: SizeRow[];
  hidden: number;
}

/** A layer in the order of the net, or a repeated block of several; `sources` name what feeds it. */
interface LayerRow {
  name: string;
  label: string;
  depth: number;
  times: number;
  layers: number;
  what: string;
  kind: string;
  shapes: Record<string, number[]>;
  input_shape: (number | null)[] | null;
  output_shape: (number | null)[] | null;
  sources: string[];
  parameters: number;
  share: number;
  row: number;
}

interface ArchitectureRecord {
  error?: string;
  order: "execution" | "definition" | "names";
  why: string;
  inputs: Record<string, (number | null)[] | null>;
  outside: string[];
  rows: LayerRow[];
  hidden: number;
}

interface NetRecords {
  grid: GridRecord;
  size: SizeRecord;
  architecture: ArchitectureRecord;
}
type AskNet = <View extends keyof NetRecords>(view: View) => Promise<NetRecords[View]>;

// What the modules make of them.

/** What a view of the net gets: `onOpen(row)` opens a weight, `say(text)` writes the line above the view. */
interface Net {
  index: Index;
  api: Api;
  root: Layer;
  onOpen(row: number): void;
  say(text: string): void;
  /** Called when other rows become visible. */
  onSight?(): void;
}

/** A picture of the whole net in the overview. */
interface NetView {
  element: HTMLElement;
  /** Mark the open weight, -1 for none. */
  open(row: number): void;
  /** Dim the weights that the table does not show. */
  show(rows: number[]): void;
  /** Draw again, since statistics were learned. */
  refresh(): void;
  focus(): void;
  /** The rows whose numbers it shows, which a live page reads after the visible ones of the table. */
  wants?(): number[];
  /** What its colours mean, and its choices. */
  legend?: HTMLElement;
}

/** A view that the overview offers if it `fits` the index; it is made when it is first chosen. */
interface NetViewMaker {
  key: string;
  title: string;
  fits(index: Index): boolean;
  make(net: Net): NetView;
}
