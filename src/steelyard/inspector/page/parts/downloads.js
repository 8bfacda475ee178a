// @ts-check
// Links to weights as files, in a live page.

import { element } from "../draw/element.js";
import { isOn } from "../data/weights.js";

/** @type {DownloadFormat[]} */
const FORMATS = ["npy", "npz", "safetensors"];

/**
 * The links to a row on each side; null in a report and in a notebook.
 * @type {(index: Index, api: Api, row: number, names: string[]) => HTMLElement | null}
 */
export function downloads(index, api, row, names) {
  const { download } = api;
  if (!download) return null;
  const links = index.sources.flatMap((_, side) =>
    isOn(index, row, side) ? [element("span", {}, index.two ? names[side] : "Download"), ...linksOf(download, row, side)] : [],
  );
  return element("p", { class: "downloads" }, ...links);
}

/**
 * Links to a weight, or to all, as files.
 * @type {(download: NonNullable<LiveApi["download"]>, row: number | null, side: number) => HTMLElement[]}
 */
export function linksOf(download, row, side) {
  const formats = row === null ? FORMATS.slice(1) : FORMATS;
  return formats.map((format) => element("a", { href: download(row, side, format), download: true }, `.${format}`));
}
