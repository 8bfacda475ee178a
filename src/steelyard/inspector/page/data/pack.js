// One encoding for everything: a length, JSON, and arrays to which the JSON points.

const KINDS = {
  i1: Int8Array,
  u1: Uint8Array,
  u2: Uint16Array,
  i4: Int32Array,
  u4: Uint32Array,
  f4: Float32Array,
  f8: Float64Array,
};

/** Turn the bytes of a pack into objects; arrays are views of its bytes. */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const text = new TextDecoder().decode(new Uint8Array(buffer, 4, length));
  const start = Math.ceil((4 + length) / 8) * 8;
  return JSON.parse(text, (_, value) => (value && Array.isArray(value.$) ? viewed(buffer, start, value.$) : value));
}

function viewed(buffer, start, [offset, length, kind]) {
  return new KINDS[kind](buffer, start + offset, length);
}

/** Open a pack that stands in the page as the base64 of gzip. */
export async function opened(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return unpack(await new Response(stream).arrayBuffer());
}

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let nth = 0; nth < raw.length; nth += 1) bytes[nth] = raw.charCodeAt(nth);
  return bytes;
}
