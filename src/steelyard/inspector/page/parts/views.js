// The views of the numbers of a weight: its spread, and a tab for each of its pictures.

import { element } from "../draw/element.js";
import { statisticsTable } from "./statistics.js";
import { filters } from "../draw/filters.js";
import { valuesGrid } from "../draw/grid.js";
import { histogram } from "../draw/histogram.js";
import { pictures } from "./pictures.js";
import { spectrum } from "../draw/spectrum.js";
import { shownName } from "../data/text.js";
import { sidesAlike } from "../data/weights.js";

/**
 * The views of a scene {index, row, api, details, names}: `parts` always stand there, `tabs` are as tabs() has them;
 * `pictures`, null for none, and `grids` can go to an entry.
 */
export function viewsOf(scene) {
  const { index, row, api, details } = scene;
  const size = index.columns.size[row];
  const maps = size && details.some((detail) => detail?.picture) ? pictures(scene) : null;
  const hasValues = api.values && size;
  const grids = hasValues ? gridsOf(scene) : [];
  const tabs = [
    maps && { key: "picture", title: "Heat map", make: () => maps.element },
    index.two && statisticsTab(scene),
    filtersTab(scene),
    spectrumTab(scene),
    hasValues && { key: "values", title: "Values", make: () => valuesOf(grids) },
  ];
  return { parts: [...troubles(scene), spread(scene)].filter(Boolean), tabs: tabs.filter(Boolean), grids, pictures: maps };
}

function troubles({ index, details, names }) {
  return details.flatMap((detail, side) =>
    detail?.error ? [element("p", { class: "trouble" }, `${index.two ? `${names[side]}: ` : ""}${shownName(detail.error)}`)] : [],
  );
}

function spread(scene) {
  const { index, details, names } = scene;
  if (!details.some((detail) => detail?.statistics)) return null;
  return element("div", { class: "spread" }, histogram(details, names), index.two ? null : statistics(scene));
}

function statistics({ index, row, details, names }) {
  const known = details.map((detail) => detail?.statistics ?? null);
  return statisticsTable(known, names, index.columns.size[row]);
}

function statisticsTab(scene) {
  if (!scene.details.some((detail) => detail?.statistics)) return null;
  return { key: "statistics", title: "Statistics", make: () => statistics(scene) };
}

function filtersTab({ index, details, names }) {
  if (!details.some((detail) => detail?.filters)) return null;
  const drawn = () =>
    details.map((detail, side) => (detail?.filters ? filters(detail.filters, index.two ? names[side] : "") : null));
  return { key: "filters", title: "Filters", make: () => element("div", {}, ...drawn()) };
}

function spectrumTab({ details, names }) {
  const spectra = details.map((detail) => detail?.spectrum ?? null);
  const why = details.find((detail) => detail?.spectrum_why)?.spectrum_why;
  if (!spectra.some(Boolean) && !why) return null;
  const make = () => (spectra.some(Boolean) ? spectrum(spectra, names) : element("p", { class: "none" }, shownName(why)));
  return { key: "spectrum", title: "Spectrum", make };
}

// A grid for each side that can be read, with its title where there are two.
function gridsOf({ index, row, api, details, names }) {
  const size = index.columns.matrix[row];
  return sidesAlike(index, row)
    .filter((side) => details[side] && !details[side].error)
    .map((side) => ({
      title: index.two ? names[side] : null,
      ...valuesGrid({ index, row, size, read: (window) => api.values(row, side, window) }),
    }));
}

function valuesOf(grids) {
  return element("div", {}, ...grids.flatMap((grid) => [grid.title && element("h4", {}, grid.title), grid.element]));
}
