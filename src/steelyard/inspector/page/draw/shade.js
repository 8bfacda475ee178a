// @ts-check
// Backgrounds of elements in the colours of pictures, and a text colour that can be read on each.

/** The luminance at which black and white have the same contrast. */
const MIDDLE = 0.179;

/**
 * Colour an element and its text.
 * @type {(node: HTMLElement, colour: string) => void}
 */
export function shade(node, colour) {
  node.style.backgroundColor = colour;
  node.style.color = luminance(getBytes(colour)) > MIDDLE ? "#000" : "#fff";
}

/** @type {(node: HTMLElement) => void} */
export function unshade(node) {
  node.style.removeProperty("background-color");
  node.style.removeProperty("color");
}

/**
 * The red, green and blue of "#rrggbb" or "rgb(r g b)".
 * @type {(colour: string) => number[]}
 */
function getBytes(colour) {
  if (colour.startsWith("#")) return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
  return (colour.match(/\d+/g) ?? []).map(Number);
}

/** @type {(bytes: number[]) => number} */
function luminance(bytes) {
  const [r, g, b] = bytes.map((byte) => (byte / 255 <= 0.04045 ? byte / 3294.6 : ((byte / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
