// @ts-check
// Links to weights as files, in a live page.

import { element } from "../draw/element.js";
import { isOn } from "../data/weights.js";

/** @type {DownloadFormat[]} */
const FORMATS = ["npy", "npz", "safetensors"];

/**
 * The links to a row on each side; null in a report.
 * @type {(index: Index, api: Api, row: number, names: string[]) => HTMLElement | null}
 */
export function downloads(index, api, row, names) {
  if (!api.live) return null;
  const links = index.sources.flatMap((_, side) =>
    isOn(index, row, side) ? [element("span", {}, index.two ? names[side] : "Download"), ...linksOf(api, row, side)] : [],
  );
  return element("p", { class: "downloads" }, ...links);
}

/**
 * Links to a weight, or to all, as files.
 * @type {(api: LiveApi, row: number | null, side: number) => HTMLElement[]}
 */
export function linksOf(api, row, side) {
  const formats = row === null ? FORMATS.slice(1) : FORMATS;
  return formats.map((format) => element("a", { href: api.download(row, side, format), download: true }, `.${format}`));
}
