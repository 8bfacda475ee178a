// @ts-check
// The heat maps of a weight: one, or that of a difference and of both sides, which zoom together if their shapes agree.

import { around, usual } from "../draw/cells.js";
import { attribute, button, element, messageOf } from "../draw/element.js";
import { heatmap } from "../draw/heatmap.js";

/** @typedef {{ element: HTMLElement, tools: HTMLElement, mark(at: number | null): Promise<void> }} Pictures */
/**
 * @typedef {{
 *   row: number,
 *   api: LiveApi | null,
 *   whole: (Picture | null)[],
 *   shown: (Picture | null)[],
 *   apart: Picture | null,
 *   asked: number,
 *   marked: number | null,
 *   maps: (HeatMap | null)[],
 *   difference: HeatMap | null,
 *   note: HTMLElement,
 * }} PicturesView
 */

/** Cells of a part in each direction, at least, and the most that a server draws. */
const [CELLS, MOST] = [128, 512];
/** Whether the largest cells share the last colour, so that all others are not pale; kept from weight to weight. */
let clipped = true;

/**
 * The heat maps of a scene.
 * @type {(scene: Scene) => Pictures}
 */
export function pictures(scene) {
  const view = viewOf(scene);
  const { maps, difference, note } = view;
  draw(view);
  return {
    element: element(
      "div",
      { class: "pictures" },
      element("div", { class: "maps" }, difference?.element, ...maps.map((map) => map?.element)),
      note,
    ),
    tools: toolsOf(view),
    /** Ring an entry; a live page also zooms in until its cell is one number. */
    async mark(at) {
      view.marked = at;
      draw(view);
      const first = view.shown.find(Boolean);
      if (at === null || !view.api || !first || (first.down === 1 && first.across === 1)) return;
      const [y, x] = [Math.floor(at / first.columns), at % first.columns];
      /** @type {Picture} */
      const whole = { ...first, window: [0, 0, first.rows, first.columns], down: 1, across: 1 };
      await zoom(view, around(whole, [y, x], Math.min(1, 64 / Math.max(first.rows, first.columns))));
    },
  };
}

/**
 * `whole` are the pictures of the sides, `shown` the drawn ones; `asked` counts zooms, so that a late answer is recognised.
 * @type {(scene: Scene) => PicturesView}
 */
function viewOf({ index, row, api, details, names }) {
  const shape = index.columns.shape[row];
  const whole = details.map((detail) => detail?.picture ?? null);
  const apart = details[0]?.difference ?? null;
  const zooms = api.live && whole.some(Boolean);
  /** @type {((window: MatrixWindow | null) => void) | null} */
  const onZoom = zooms ? (window) => void zoom(view, window) : null;
  /** @type {PicturesView} */
  const view = {
    row,
    api: zooms ? api : null,
    whole,
    shown: [...whole],
    apart,
    asked: 0,
    marked: null,
    maps: whole.map(
      (one, side) => one && heatmap({ title: index.two ? names[side] : index.shown[row], shape, heading: index.two, onZoom }),
    ),
    difference: apart && heatmap({ title: `${names[0]} minus ${names[1]}`, shape }),
    note: element("p", { class: "caption" }),
  };
  return view;
}

/** @type {(view: PicturesView) => HTMLElement} */
function toolsOf(view) {
  const clip = button(
    "contrast",
    () => {
      clipped = !clipped;
      attribute(clip, "aria-pressed", clipped);
      draw(view);
    },
    {
      "aria-pressed": clipped,
      title: "Use the colours for 99% of the cells; larger magnitudes share the last colour",
    },
  );
  const zoomed = view.api ? zoomers((window) => zoom(view, window), () => firstOf(view.shown)) : [];
  return element("div", { class: "tools", role: "group", "aria-label": "Heat map" }, ...zoomed, clip);
}

/** @type {(view: PicturesView) => void} */
function draw(view) {
  const { maps, shown, whole, difference, marked } = view;
  const scale = Math.max(...shown.map(reach));
  maps.forEach((map, side) => {
    const one = shown[side];
    if (map && one) map.show(one, scale, clipped);
  });
  if (difference) {
    const apart = shown.every((one, side) => one === whole[side]) ? view.apart : minus(shown[0], shown[1]);
    difference.element.hidden = !apart;
    if (apart) difference.show(apart, reach(apart), clipped);
  }
  maps.forEach((map, side) => map?.mark(isAlike(whole, side) ? marked : null));
  difference?.mark(marked);
}

/** @type {(view: PicturesView, window: MatrixWindow | null) => Promise<void>} */
async function zoom(view, window) {
  const { api, whole, note } = view;
  if (!api) return;
  const nth = (view.asked += 1);
  const first = firstOf(view.shown);
  const part = window && (window[2] - window[0] < first.rows || window[3] - window[1] < first.columns);
  note.textContent = "";
  try {
    const found = await Promise.all(whole.map((one, side) => (one && part && isAlike(whole, side) ? partOf(view, api, side, window) : one)));
    if (nth !== view.asked) return;
    view.shown = found;
    draw(view);
  } catch (error) {
    note.textContent = messageOf(error);
  }
}

/** @type {(view: PicturesView, api: LiveApi, side: number, window: MatrixWindow) => Promise<Picture>} */
function partOf({ row, whole }, api, side, window) {
  /** @type {(length: number) => number} */
  const cells = (length) => Math.min(MOST, Math.max(CELLS, length));
  return api.picture(row, side, window, cells(whole[side]?.height ?? 0), cells(whole[side]?.width ?? 0));
}

/**
 * Return whether the matrix of a side is as large as the first; any other does not zoom with it, and its entries are elsewhere.
 * @type {(whole: (Picture | null)[], side: number) => boolean}
 */
function isAlike(whole, side) {
  const [one, first] = [whole[side], whole.find(Boolean)];
  return Boolean(one && first && one.rows === first.rows && one.columns === first.columns);
}

/** @type {(shown: (Picture | null)[]) => Picture} */
function firstOf(shown) {
  return /** @type {Picture} */ (shown.find(Boolean));
}

/**
 * The magnitude of the last colour.
 * @type {(one: Picture | null) => number}
 */
function reach(one) {
  return one ? (clipped ? usual(one) : one.scale) : 0;
}

/** @type {(zoom: (window: MatrixWindow | null) => void, first: () => Picture) => HTMLElement[]} */
function zoomers(zoom, first) {
  /** @type {() => Cell} */
  const middle = () => [(first().height - 1) / 2, (first().width - 1) / 2];
  return [
    button("+", () => zoom(around(first(), middle(), 0.5)), { title: "Zoom in (+)", "aria-label": "Zoom in" }),
    button("\u2212", () => zoom(around(first(), middle(), 2)), { title: "Zoom out (-)", "aria-label": "Zoom out" }),
    button("whole", () => zoom(null), { title: "The whole weight (0)" }),
    element("span", { class: "hint" }, "or drag over a part"),
  ];
}

/** @type {(cells: Float64Array) => number} */
function largest(cells) {
  return cells.reduce((most, cell) => (Math.abs(cell) > most ? Math.abs(cell) : most), 0);
}

/**
 * The difference of two pictures; null unless each cell is one number.
 * @type {(one: Picture | null, other: Picture | null) => Picture | null}
 */
function minus(one, other) {
  if (!one || !other || !exact(one) || !exact(other) || one.cells.length !== other.cells.length) return null;
  const cells = Float64Array.from(one.cells, (cell, nth) => cell - other.cells[nth]);
  return { ...one, cells, scale: largest(cells) };
}

/** @type {(picture: Picture) => boolean} */
function exact(picture) {
  return picture.down === 1 && picture.across === 1 && !(picture.cells instanceof Int8Array);
}
