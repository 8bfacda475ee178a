// @ts-check
// Packs, the encoding of all data: a length, JSON, and the arrays that the JSON points to. packing.py shows the layout.

/**
 * A class that older type checkers lack.
 * @typedef {{
 *   DecompressionStream: new (format: string) => ReadableWritablePair<Uint8Array, Uint8Array>,
 * }} Streams
 */
/**
 * A method of Uint8Array that older browsers lack.
 * @typedef {{
 *   fromBase64(text: string): BlobPart,
 * }} FromBase64
 */

/** @typedef {[offset: number, length: number, kind: keyof typeof KINDS]} Place */

const KINDS = {
  i1: Int8Array,
  u1: Uint8Array,
  u2: Uint16Array,
  i4: Int32Array,
  u4: Uint32Array,
  f4: Float32Array,
  f8: Float64Array,
};

/**
 * Turn a pack into objects; their arrays are views of its bytes.
 * @type {<Content>(buffer: ArrayBuffer) => Content}
 */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const text = new TextDecoder().decode(new Uint8Array(buffer, 4, length));
  const start = Math.ceil((4 + length) / 8) * 8;
  return filled(JSON.parse(text), (place) => viewed(buffer, start, place));
}

/**
 * Put arrays in their places in a value, and return it: a reviver of JSON.parse is called for each number and word, of which a net
 * of 10,000 weights has some 300,000.
 * @type {(value: any, arrayOf: (place: Place) => object) => any}
 */
function filled(value, arrayOf) {
  if (Array.isArray(value)) {
    for (let nth = 0; nth < value.length; nth += 1) {
      if (value[nth] !== null && typeof value[nth] === "object") value[nth] = filled(value[nth], arrayOf);
    }
    return value;
  }
  if (Array.isArray(value.$)) return arrayOf(value.$);
  for (const key of Object.keys(value)) {
    if (value[key] !== null && typeof value[key] === "object") value[key] = filled(value[key], arrayOf);
  }
  return value;
}

/** @type {(buffer: ArrayBuffer, start: number, place: Place) => object} */
function viewed(buffer, start, [offset, length, kind]) {
  return new KINDS[kind](buffer, start + offset, length);
}

/**
 * Open a pack in the page: base64 of gzip.
 * @type {<Content>(text: string) => Promise<Content>}
 */
export async function opened(text) {
  const streams = /** @type {Streams} */ (/** @type {unknown} */ (globalThis));
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new streams.DecompressionStream("gzip"));
  return unpack(await new Response(stream).arrayBuffer());
}

/** @type {(text: string) => BlobPart} */
function bytesOf(text) {
  if ("fromBase64" in Uint8Array) return /** @type {FromBase64} */ (/** @type {unknown} */ (Uint8Array)).fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let nth = 0; nth < raw.length; nth += 1) bytes[nth] = raw.charCodeAt(nth);
  return bytes;
}
