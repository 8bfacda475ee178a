// The heat maps of a weight: of one side, or of both and of their difference, which zoom together where they can.

import { around, usual } from "./cells.js";
import { attribute, button, element } from "./element.js";
import { heatmap } from "./heatmap.js";

/** Cells in each direction that a part is drawn in, and the most that a server draws. */
const [CELLS, MOST] = [128, 512];
/** Whether few large cells may share the last colour; stays so from weight to weight. */
let clipped = false;

/** The heat maps of a row. `details` and `names` are those of the sides. */
export function pictures({ index, row, source, details, names }) {
  const shape = index.columns.shape[row];
  const zooms = source.picture !== null && details.some((detail) => detail?.picture);
  const maps = details.map(
    (detail, side) =>
      detail?.picture &&
      heatmap({ title: index.two ? names[side] : index.shown[row], shape, heading: index.two, onZoom: zooms ? zoom : null }),
  );
  const shown = details.map((detail) => detail?.picture ?? null);
  const difference = details[0]?.difference ? heatmap({ title: `${names[0]} minus ${names[1]}`, shape }) : null;
  const told = element("p", { class: "caption" });
  const clip = button("contrast", () => contrast(), {
    "aria-pressed": clipped,
    title: "Spread the colours over 99% of the cells; larger ones share the last colour",
  });
  const tools = element(
    "div",
    { class: "tools", role: "group", "aria-label": "Heat map" },
    ...(zooms ? zoomers(zoom, () => shown.find(Boolean)) : []),
    clip,
  );
  let asked = 0;
  let marked = null;

  /** Whether a side has the matrix of the first one: others do not zoom with it, and have other places. */
  const alike = (side) => {
    const [one, first] = [details[side]?.picture, details.find((detail) => detail?.picture)?.picture];
    return Boolean(one) && one.rows === first.rows && one.columns === first.columns;
  };
  const drawn = (side, window) => {
    const { height, width } = details[side].picture;
    return source.picture(row, side, window, Math.min(MOST, Math.max(CELLS, height)), Math.min(MOST, Math.max(CELLS, width)));
  };
  const reach = (one) => (one ? (clipped ? usual(one) : one.scale) : 0);

  function contrast() {
    clipped = !clipped;
    attribute(clip, "aria-pressed", clipped);
    draw();
  }

  function draw() {
    const scale = Math.max(...shown.map(reach));
    maps.forEach((map, side) => map && shown[side] && map.show(shown[side], scale, clipped));
    const whole = shown.every((one, side) => one === (details[side]?.picture ?? null));
    if (difference) {
      const apart = whole ? details[0].difference : minus(...shown);
      difference.element.hidden = !apart;
      if (apart) difference.show(apart, reach(apart), clipped);
    }
    maps.forEach((map, side) => map?.mark(alike(side) ? marked : null));
    difference?.mark(marked);
  }

  async function zoom(window) {
    const nth = (asked += 1);
    const first = shown.find(Boolean);
    const part = window && (window[2] - window[0] < first.rows || window[3] - window[1] < first.columns);
    told.textContent = "";
    try {
      const ready = details.map((detail, side) => (part && alike(side) ? drawn(side, window) : (detail?.picture ?? null)));
      const found = await Promise.all(ready);
      if (nth !== asked) return;
      found.forEach((one, side) => (shown[side] = one));
      draw();
    } catch (error) {
      told.textContent = error.message;
    }
  }

  draw();
  return {
    element: element(
      "div",
      { class: "pictures" },
      tools,
      element("div", { class: "maps" }, ...maps.map((map) => map?.element), difference?.element),
      told,
    ),
    /** Ring an entry; where the source is live, go so near that its cell is one number. */
    async mark(at) {
      marked = at;
      draw();
      const first = shown.find(Boolean);
      if (at === null || !zooms || !first || (first.down === 1 && first.across === 1)) return;
      const [y, x] = [Math.floor(at / first.columns), at % first.columns];
      const whole = { ...first, window: [0, 0, first.rows, first.columns], down: 1, across: 1 };
      await zoom(around(whole, [y, x], Math.min(1, 64 / Math.max(first.rows, first.columns))));
    },
  };
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
