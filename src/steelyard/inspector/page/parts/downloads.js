// Links to weights as files, where the source is live.

import { element } from "../draw/element.js";
import { isOn } from "../data/weights.js";

const FORMATS = ["npy", "npz", "safetensors"];

/** The links to a row of each side, null where the source has none. */
export function downloads(index, source, row, names) {
  if (!source.live) return null;
  const links = index.sides.flatMap((_, side) =>
    isOn(index, row, side) ? [element("span", {}, index.two ? names[side] : "Download"), ...linksOf(source, row, side)] : [],
  );
  return element("p", { class: "downloads" }, ...links);
}

/** Links to a weight, or to all, as files. */
export function linksOf(source, row, side) {
  const formats = row === null ? FORMATS.slice(1) : FORMATS;
  return formats.map((format) => element("a", { href: source.download(row, side, format), download: true }, `.${format}`));
}
