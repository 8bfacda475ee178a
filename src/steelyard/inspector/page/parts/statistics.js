// @ts-check
// The statistics of a weight as a table, for one side or for both next to each other.

import { element } from "../draw/element.js";
import { percent, short, whole } from "../data/text.js";
import { numberOf } from "../data/weights.js";

/** @type {Statistic[]} */
const NUMBERS = ["min", "q01", "q05", "q25", "median", "q75", "q95", "q99", "max", "mean", "std", "rms", "l1", "l2"];
/** @type {Statistic[]} */
const COUNTS = ["zeros", "near_zeros", "nan", "inf"];
/** @type {Partial<Record<Statistic, string>>} */
const WORDS = { q01: "1%", q05: "5%", q25: "25%", q75: "75%", q95: "95%", q99: "99%", near_zeros: "near zero" };

/**
 * A table of the statistics of a weight of this size; null stands for a side without any.
 * @type {(statistics: (Statistics | null)[], names: string[], size: number) => HTMLElement}
 */
export function statisticsTable(statistics, names, size) {
  const known = statistics.flatMap((one) => one ?? []);
  if (!known.length) return element("p", { class: "none" }, "No numbers.");
  const lines = [...NUMBERS, ...COUNTS].filter((word) => known.some((one) => statisticText(one, word, size)));
  if (known.length > 1) return compared(lines, statistics, names, size);
  const pairs = lines.map((word) =>
    element("div", {}, element("dt", {}, WORDS[word] ?? word), element("dd", {}, statisticText(known[0], word, size))),
  );
  return element("dl", { class: "statistics" }, ...pairs);
}

/** @type {(lines: Statistic[], statistics: (Statistics | null)[], names: string[], size: number) => HTMLElement} */
function compared(lines, statistics, names, size) {
  const head = element("tr", {}, element("td", {}), ...names.map((name) => element("th", { scope: "col" }, name)));
  const rows = lines.map((word) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, WORDS[word] ?? word),
      ...statistics.map((one) => element("td", {}, one ? statisticText(one, word, size) : "")),
    ),
  );
  return element("table", { class: "statistics" }, element("thead", {}, head), element("tbody", {}, ...rows));
}

/** @type {(statistics: Statistics, word: Statistic, size: number) => string} */
function statisticText(statistics, word, size) {
  const value = numberOf(statistics[word]);
  if (value === null) return "";
  if (!COUNTS.includes(word)) return short(value);
  return value ? `${whole(value)} (${percent(value, size)})` : word === "zeros" ? "none" : "";
}
