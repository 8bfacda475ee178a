// @ts-check
// The views of the numbers of a weight: a tab for each of its pictures, the best first, and its distribution.

import { element } from "../draw/element.js";
import { statisticsTable } from "./statistics.js";
import { usual } from "../draw/cells.js";
import { filters } from "../draw/filters.js";
import { valuesGrid } from "../draw/grid.js";
import { histogram } from "../draw/histogram.js";
import { panelTabs } from "./panels.js";
import { pictures } from "./pictures.js";
import { spectrum } from "../draw/spectrum.js";
import { shownName } from "../data/text.js";
import { sidesAlike, statisticsOf } from "../data/weights.js";

/** @typedef {Grid & { title: string | null }} TitledGrid */
/**
 * @typedef {{
 *   troubles: HTMLElement[],
 *   spread: HTMLElement | null,
 *   tabs: Tab[],
 *   grids: Grid[],
 *   pictures: import("./pictures.js").Pictures | null,
 * }} Views
 */

/**
 * The views of a scene: `troubles` and `spread` are always shown, one of the `tabs` at a time; `pictures` and `grids` can go to
 * an entry. The first tab has filters for a convolution, but what changed for two sources.
 * @type {(scene: Scene) => Views}
 */
export function viewsOf(scene) {
  const { index, row, api, details } = scene;
  const size = index.columns.size[row];
  const maps = size && details.some((detail) => detail?.picture) ? pictures(scene) : null;
  const grids = api.live && size ? gridsOf(scene, api) : [];
  const map = maps && { key: "picture", title: "Heat map", make: () => maps.element, tools: maps.tools };
  /** @type {(Tab | null | false)[]} */
  const tabs = [
    index.two && map,
    filtersTab(scene),
    !index.two && map,
    ...panelTabs(scene),
    index.two && statisticsTab(scene),
    spectrumTab(scene),
    Boolean(api.live && size) && { key: "values", title: "Values", make: () => valuesOf(grids) },
  ];
  return {
    troubles: troubles(scene),
    spread: spread(scene),
    tabs: tabs.flatMap((tab) => tab || []),
    grids,
    pictures: maps,
  };
}

/** @type {(scene: Scene) => HTMLElement[]} */
function troubles({ index, details, names }) {
  const found = details.flatMap((detail, side) =>
    detail?.error ? [element("p", { class: "trouble" }, `${index.two ? `${names[side]}: ` : ""}${shownName(detail.error)}`)] : [],
  );
  const leftOut = new Set(details.flatMap((detail) => detail?.left_out ?? []));
  return [...found, ...[...leftOut].map((text) => element("p", { class: "none" }, shownName(text)))];
}

/** @type {(scene: Scene) => HTMLElement | null} */
function spread(scene) {
  const { index, row, details, names } = scene;
  if (!details.some((detail) => detail?.statistics)) return statisticsOfRow(index, row);
  return element("div", { class: "spread" }, histogram(details, names, index.columns.size[row]), index.two ? null : statistics(scene));
}

/**
 * The statistics that the table has of a weight without details, as in a report of very many; null where it has none either.
 * @type {(index: Index, row: number) => HTMLElement | null}
 */
function statisticsOfRow(index, row) {
  const known = statisticsOf(index, row);
  return known && element("div", { class: "spread" }, statisticsTable([known], [], index.columns.size[row]));
}

/** @type {(scene: Scene) => HTMLElement} */
function statistics({ index, row, details, names }) {
  const known = details.map((detail) => detail?.statistics ?? null);
  return statisticsTable(known, names, index.columns.size[row]);
}

/** @type {(scene: Scene) => Tab | null} */
function statisticsTab(scene) {
  if (!scene.details.some((detail) => detail?.statistics)) return null;
  return { key: "statistics", title: "Statistics", make: () => statistics(scene) };
}

/** @type {(scene: Scene) => Tab | null} */
function filtersTab({ index, details, names }) {
  if (!details.some((detail) => detail?.filters)) return null;
  const drawn = () =>
    details.map((detail, side) => (detail?.filters ? filters(detail.filters, index.two ? names[side] : "") : null));
  return { key: "filters", title: "Filters", make: () => element("div", {}, ...drawn()) };
}

/** @type {(scene: Scene) => Tab | null} */
function spectrumTab({ details, names }) {
  const spectra = details.map((detail) => detail?.spectrum ?? null);
  const why = details.find((detail) => detail?.spectrum_why)?.spectrum_why;
  if (!spectra.some(Boolean) && !why) return null;
  const make = () => (spectra.some(Boolean) ? spectrum(spectra, names) : element("p", { class: "none" }, shownName(why ?? "")));
  return { key: "spectrum", title: "Spectrum", make };
}

/**
 * A grid for each readable side, with a title if there are two.
 * @type {(scene: Scene, api: LiveApi) => TitledGrid[]}
 */
function gridsOf({ index, row, details, names }, api) {
  const size = index.columns.matrix[row];
  return sidesAlike(index, row)
    .filter((side) => details[side] && !details[side]?.error)
    .map((side) => ({
      title: index.two ? names[side] : null,
      ...valuesGrid({ index, row, size, scale: scaleOf(details[side]?.picture), read: (window) => api.values(row, side, window) }),
    }));
}

/**
 * The magnitude of the last colour behind the numbers.
 * @type {(picture: Picture | null | undefined) => number}
 */
function scaleOf(picture) {
  return (picture && usual(picture)) || 1;
}

/** @type {(grids: TitledGrid[]) => HTMLElement} */
function valuesOf(grids) {
  return element("div", {}, ...grids.flatMap((grid) => [grid.title && element("p", { class: "grid-title" }, grid.title), grid.element]));
}
