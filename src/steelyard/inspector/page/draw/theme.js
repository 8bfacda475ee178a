// @ts-check
// The colours of pictures: those of the style sheet, and a diverging scale whose middle is close to the paper.

import { isDark, onScheme } from "./scheme.js";

const PRINT = matchMedia("print");
/** @type {Set<() => void>} */
const WATCHING = new Set();
// From the most negative to the most positive; people with any kind of colour vision can distinguish blue and orange.
const SCALES = {
  light: ["#0b2f63", "#2b6cb0", "#9cc3e4", "#f6f4ef", "#f0b27a", "#c2571a", "#6b2503"],
  dark: ["#d3e8ff", "#6fb1ee", "#2a5f96", "#1c2024", "#95501d", "#ea8f4b", "#ffe1c7"],
};
/**
 * The groups of roles that have a colour.
 * @type {RoleGroup[]}
 */
export const ROLES = ["kernel", "embedding", "bias", "scale", "statistic", "other"];
const STEPS = 127;
/** @type {Theme | null} */
let known = null;

/**
 * The current colours; `scale` has 255 colours, for the steps from -127 to 127.
 * @type {() => Theme}
 */
export function theme() {
  known ??= measured();
  return known;
}

/**
 * Call `redraw` whenever the colours change.
 * @type {(redraw: () => void) => void}
 */
export function onTheme(redraw) {
  WATCHING.add(redraw);
}

/**
 * The CSS colour of a number from -1 to 1.
 * @type {(share: number) => string}
 */
export function colourOf(share) {
  const at = (Math.round(Math.max(-1, Math.min(1, share)) * STEPS) + STEPS) * 3;
  return `rgb(${theme()
    .scale.slice(at, at + 3)
    .join(" ")})`;
}

/** @type {() => Theme} */
function measured() {
  const style = getComputedStyle(document.documentElement);
  /** @type {(word: string) => string} */
  const colour = (word) => style.getPropertyValue(`--${word}`).trim();
  const [accent, ink, panel] = ["accent", "ink", "panel"].map(colour);
  return {
    ink,
    muted: colour("muted"),
    line: colour("line"),
    panel,
    accent,
    soft: colour("soft"),
    scale: scaleOf(SCALES[drawsDark() ? "dark" : "light"]),
    accentBytes: rgb(accent),
    panelBytes: rgb(panel),
    roles: byRole((group) => colour(`role-${group}`)),
    roleBytes: byRole((group) => rgb(colour(`role-${group}`))),
  };
}

/** @type {<Value>(value: (group: RoleGroup) => Value) => Record<RoleGroup, Value>} */
function byRole(value) {
  return /** @type {Record<RoleGroup, ReturnType<typeof value>>} */ (Object.fromEntries(ROLES.map((group) => [group, value(group)])));
}

/** @type {() => boolean} */
function drawsDark() {
  return isDark() && !document.documentElement.hasAttribute("data-print");
}

/** @type {(stops: string[]) => Uint8ClampedArray} */
function scaleOf(stops) {
  const labs = stops.map((stop) => toLab(rgb(stop)));
  const bytes = new Uint8ClampedArray((2 * STEPS + 1) * 3);
  for (let nth = 0; nth <= 2 * STEPS; nth += 1) {
    const at = (nth / (2 * STEPS)) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    const mixed = labs[low].map((part, axis) => part + (labs[low + 1][axis] - part) * (at - low));
    bytes.set(fromLab(mixed), nth * 3);
  }
  return bytes;
}

/** @type {(hex: string) => number[]} */
function rgb(hex) {
  return [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
}

/**
 * To OKLab, in which straight lines look like even gradients.
 * @type {(bytes: number[]) => number[]}
 */
function toLab(bytes) {
  const [r, g, b] = bytes.map((byte) => (byte / 255 <= 0.04045 ? byte / 3294.6 : ((byte / 255 + 0.055) / 1.055) ** 2.4));
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

/** @type {(lab: number[]) => number[]} */
function fromLab([lightness, a, b]) {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((part) => 255 * (part <= 0.0031308 ? 12.92 * part : 1.055 * part ** (1 / 2.4) - 0.055));
}

/** @type {() => void} */
function changed() {
  known = null;
  WATCHING.forEach((redraw) => redraw());
}

/**
 * Draw for white paper while the page is printed.
 * @type {(on: boolean) => void}
 */
function printing(on) {
  document.documentElement.toggleAttribute("data-print", on);
  changed();
}

onScheme(changed);
PRINT.addEventListener("change", () => printing(PRINT.matches));
addEventListener("beforeprint", () => printing(true));
addEventListener("afterprint", () => printing(false));
