// Types of the pictures of weights that are more than matrices, which every module knows without an import.
// Browsers never load this file.

// The records that panels.py sends.

/** The first units of a dense kernel, each with the numbers of its inputs in steps of 1/127 of the scale. */
interface ImagesRecord {
  count: number;
  units: number;
  inputs: number;
  /** The height, the width and the colours of the square image with so many inputs. */
  sides: [height: number, width: number, colours: number];
  /** Whether the colours of a pixel are next to one another. */
  last: boolean;
  /** The axis that was taken for the inputs, if the source does not say. */
  assumed: string;
  scale: number;
  cells: Int8Array;
}

/** One kernel of an attention layer, or a third of a fused one, as a picture of each head. */
interface HeadsPart {
  letter: string;
  heads: number;
  height: number;
  width: number;
  scale: number;
  cells: Int8Array;
  norms: Float32Array;
}

interface HeadsRecord {
  /** Why there are none. */
  error?: string;
  parts: HeadsPart[];
  how: string;
}

/** Rows of an embedding on two components, from -scale at 0 to scale at 65534. */
interface PointsRecord {
  error?: string;
  count: number;
  rows: Int32Array;
  scale: number;
  lost: number;
  across: Uint16Array;
  down: Uint16Array;
  shares: number[];
}
