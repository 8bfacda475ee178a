// @ts-check
// Numbers as text, and the positions of numbers along an axis.

/**
 * A number with three significant digits, or with so many; blank for none.
 * @type {(value: number, digits?: number) => string}
 */
export function shortly(value, digits = 3) {
  if (!Number.isFinite(value)) return "";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(digits - 2) : String(Number(value.toPrecision(digits)));
}

/**
 * The labels of an axis, with as many digits as tell them from each other.
 * @type {(values: number[]) => string[]}
 */
export function labelsOf(values) {
  const tried = [3, 4, 5, 6].map((digits) => values.map((value) => shortly(value, digits)));
  return tried.find((labels) => new Set(labels).size === values.length) ?? tried[0];
}

/**
 * The least and the greatest finite number, apart from each other.
 * @type {(values: number[]) => [low: number, high: number]}
 */
export function rangeOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return [0, 1];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

/**
 * A function from numbers of a range to pixels.
 * @type {(range: [number, number], start: number, stop: number) => (value: number) => number}
 */
export function along([low, high], start, stop) {
  return (value) => start + ((value - low) / (high - low)) * (stop - start);
}
