// @ts-check
// Numbers, names and shapes as text.

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
/** What separates the parts of a line. */
const BETWEEN = "  ·  ";
const WHOLE = new Intl.NumberFormat("en");
/** Characters of the longest name that is shown whole. */
const LONGEST = 2000;
/** The units of counts, as papers write them, and of bytes. */
const COUNTS = ["k", "M", "B", "T"];
const BYTES = ["kB", "MB", "GB", "TB", "PB"];

/**
 * Write a name with an escape for every character that is invisible or reverses text.
 * @type {(name: string) => string}
 */
export function shownName(name) {
  const cut = name.length > LONGEST ? `${name.slice(0, LONGEST / 2)}…${name.slice(-LONGEST / 2)}` : name;
  return cut.replace(UNPRINTABLE, (found) => `\\u${(found.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`) || "(unnamed)";
}

/**
 * Keep each part of a line in its place where one is written from right to left, which would take the numbers next to it with it.
 * @type {(line: string) => string}
 */
export function isolated(line) {
  return RIGHT_TO_LEFT.test(line) ? line.split(BETWEEN).map((part) => `\u2068${part}\u2069`).join(BETWEEN) : line;
}

/**
 * Write a count: 1,234.
 * @type {(number: number) => string}
 */
export function whole(number) {
  return WHOLE.format(number);
}

/**
 * Write a number of a weight in four digits, or fewer.
 * @type {(number: number | null | undefined, digits?: number) => string}
 */
export function short(number, digits = 4) {
  if (number === null || number === undefined) return "";
  if (!Number.isFinite(number)) return Number.isNaN(number) ? "NaN" : number > 0 ? "inf" : "-inf";
  const size = Math.abs(number);
  if (size === 0) return "0";
  if (size >= 1e6 || size < 10 ** -digits) return number.toExponential(2);
  return Number.isInteger(number) || size >= 10 ** digits - 0.5 ? number.toFixed(0) : number.toPrecision(digits);
}

/**
 * Write the end of an axis in the shorter of two ways: 0.5, 1e+8.
 * @type {(number: number, digits?: number) => string}
 */
export function axisText(number, digits = 3) {
  const rounded = Number(number.toPrecision(digits));
  const [plain, power] = [String(rounded), rounded.toExponential()];
  return plain.length <= power.length ? plain : power;
}

/**
 * Write a count in few characters: 11.7 M.
 * @type {(number: number) => string}
 */
export function rounded(number) {
  return number < 10000 ? whole(number) : inUnits(number, COUNTS);
}

/**
 * Write a number from 1000 on in three digits; one that would be rounded to 1000 has the next unit: 1.00 M.
 * @type {(number: number, units: string[]) => string}
 */
function inUnits(number, units) {
  let [count, unit] = [number / 1000, 0];
  for (; count >= 999.5 && unit + 1 < units.length; unit += 1) count /= 1000;
  return `${count < 999.5 ? count.toPrecision(3) : count.toFixed(0)} ${units[unit]}`;
}

/**
 * Write bytes in three digits with a decimal unit, as all outputs of Steelyard do: 4.94 MB.
 * @type {(number: number) => string}
 */
export function bytesText(number) {
  return number < 1000 ? counted(number, "byte") : inUnits(number, BYTES);
}

/**
 * Write a shape: 64 × 3 × 7 × 7.
 * @type {(shape: number[]) => string}
 */
export function shapeText(shape) {
  return shape.length ? shape.join("\u200a×\u200a") : "scalar";
}

/**
 * Write a count with its noun.
 * @type {(number: number, one: string, many?: string) => string}
 */
export function counted(number, one, many = `${one}s`) {
  return `${whole(number)} ${number === 1 ? one : many}`;
}

/**
 * Write a share as 12.3%.
 * @type {(part: number, all: number) => string}
 */
export function percent(part, all) {
  const share = all ? (100 * part) / all : 0;
  if (share === 0 || share === 100) return `${share}%`;
  return share < 0.01 ? "<0.01%" : `${Math.min(Number(share.toPrecision(3)), 99.9)}%`;
}

/**
 * Write the index of an entry as NumPy does.
 * @type {(index: number[]) => string}
 */
export function indexText(index) {
  return `[${index.join(", ")}]`;
}
