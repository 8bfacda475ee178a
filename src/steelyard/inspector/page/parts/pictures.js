// The heat maps of a weight: of one side, or of both and of their difference, which zoom together where they can.

import { around, usual } from "../draw/cells.js";
import { attribute, button, element } from "../draw/element.js";
import { heatmap } from "../draw/heatmap.js";

/** Cells in each direction that a part is drawn in, and the most that a server draws. */
const [CELLS, MOST] = [128, 512];
/** Whether few large cells may share the last colour; stays so from weight to weight. */
let clipped = false;

/** The heat maps of a row. `details` and `names` are those of the sides. */
export function pictures(scene) {
  const view = viewOf(scene);
  const { maps, difference, told } = view;
  draw(view);
  return {
    element: element(
      "div",
      { class: "pictures" },
      toolsOf(view),
      element("div", { class: "maps" }, ...maps.map((map) => map?.element), difference?.element),
      told,
    ),
    /** Ring an entry; where the api is live, go so near that its cell is one number. */
    async mark(at) {
      view.marked = at;
      draw(view);
      const first = view.shown.find(Boolean);
      if (at === null || !view.zooms || !first || (first.down === 1 && first.across === 1)) return;
      const [y, x] = [Math.floor(at / first.columns), at % first.columns];
      const whole = { ...first, window: [0, 0, first.rows, first.columns], down: 1, across: 1 };
      await zoom(view, around(whole, [y, x], Math.min(1, 64 / Math.max(first.rows, first.columns))));
    },
  };
}

// `whole` are the pictures of the sides, `shown` those that are drawn; `asked` counts zooms, so that a late answer is known.
function viewOf({ index, row, api, details, names }) {
  const shape = index.columns.shape[row];
  const whole = details.map((detail) => detail?.picture ?? null);
  const zooms = api.picture !== null && whole.some(Boolean);
  const view = { row, api, whole, shown: [...whole], zooms, apart: details[0]?.difference, asked: 0, marked: null };
  const onZoom = zooms ? (window) => zoom(view, window) : null;
  view.maps = whole.map(
    (one, side) => one && heatmap({ title: index.two ? names[side] : index.shown[row], shape, heading: index.two, onZoom }),
  );
  view.difference = view.apart ? heatmap({ title: `${names[0]} minus ${names[1]}`, shape }) : null;
  view.told = element("p", { class: "caption" });
  return view;
}

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
      title: "Spread the colours over 99% of the cells; larger ones share the last colour",
    },
  );
  const zoomed = view.zooms ? zoomers((window) => zoom(view, window), () => view.shown.find(Boolean)) : [];
  return element("div", { class: "tools", role: "group", "aria-label": "Heat map" }, ...zoomed, clip);
}

function draw(view) {
  const { maps, shown, whole, difference, marked } = view;
  const scale = Math.max(...shown.map(reach));
  maps.forEach((map, side) => map && shown[side] && map.show(shown[side], scale, clipped));
  if (difference) {
    const apart = shown.every((one, side) => one === whole[side]) ? view.apart : minus(...shown);
    difference.element.hidden = !apart;
    if (apart) difference.show(apart, reach(apart), clipped);
  }
  maps.forEach((map, side) => map?.mark(isAlike(whole, side) ? marked : null));
  difference?.mark(marked);
}

async function zoom(view, window) {
  const { whole, told } = view;
  const nth = (view.asked += 1);
  const first = view.shown.find(Boolean);
  const part = window && (window[2] - window[0] < first.rows || window[3] - window[1] < first.columns);
  told.textContent = "";
  try {
    const found = await Promise.all(whole.map((one, side) => (part && isAlike(whole, side) ? partOf(view, side, window) : one)));
    if (nth !== view.asked) return;
    view.shown = found;
    draw(view);
  } catch (error) {
    told.textContent = error.message;
  }
}

function partOf({ api, row, whole }, side, window) {
  const cells = (length) => Math.min(MOST, Math.max(CELLS, length));
  return api.picture(row, side, window, cells(whole[side].height), cells(whole[side].width));
}

// Whether a side has the matrix of the first one: others do not zoom with it, and have other places.
function isAlike(whole, side) {
  const [one, first] = [whole[side], whole.find(Boolean)];
  return Boolean(one) && one.rows === first.rows && one.columns === first.columns;
}

// The magnitude that has the last colour.
function reach(one) {
  return one ? (clipped ? usual(one) : one.scale) : 0;
}

function zoomers(zoom, first) {
  const middle = () => [(first().height - 1) / 2, (first().width - 1) / 2];
  return [
    button("+", () => zoom(around(first(), middle(), 0.5)), { title: "Zoom in (+)", "aria-label": "Zoom in" }),
    button("\u2212", () => zoom(around(first(), middle(), 2)), { title: "Zoom out (-)", "aria-label": "Zoom out" }),
    button("whole", () => zoom(null), { title: "The whole weight (0)" }),
    element("span", { class: "hint" }, "or drag over a part"),
  ];
}

function largest(cells) {
  return cells.reduce((most, cell) => (Math.abs(cell) > most ? Math.abs(cell) : most), 0);
}

// The difference of two pictures, where each cell is one number.
function minus(one, other) {
  if (!one || !other || !exact(one) || !exact(other) || one.cells.length !== other.cells.length) return null;
  const cells = Float64Array.from(one.cells, (cell, nth) => cell - other.cells[nth]);
  return { ...one, cells, scale: largest(cells) };
}

function exact(picture) {
  return picture.down === 1 && picture.across === 1 && !(picture.cells instanceof Int8Array);
}
