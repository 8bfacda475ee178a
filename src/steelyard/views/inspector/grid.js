// The numbers of a weight as a grid of any size, asked for in tiles when they come into sight.

import { attribute, element } from "./element.js";
import { entryOf, placeText } from "./place.js";
import { whole } from "./text.js";

const [ROW, SIDE, HEAD] = [22, 64, 22];
/** Pixels of a number, of a type with many digits, and with two such parts: an exponent must not be cut off. */
const [COLUMN, LONG, PAIR] = [118, 184, 330];
const [TALL, WIDE, KEPT] = [64, 32, 64];
/** Longest scroller that browsers lay out exactly. */
const LONGEST = 8e6;

/** The grid of a row on a side: `read(window)` returns the texts of the numbers in it. */
export function valuesGrid({ index, row, size: [rows, columns], read }) {
  const column = widthOf(index.columns.dtype[row]);
  const tiles = new Map();
  const view = element("div", { class: "view", role: "none" });
  const sizer = element("div", { class: "sizer", role: "none" }, view);
  const holder = element(
    "div",
    {
      class: "values",
      role: "grid",
      tabindex: "0",
      "aria-label": `Numbers of ${index.shown[row]}`,
      "aria-rowcount": rows + 1,
      "aria-colcount": columns + 1,
      on: { keydown: onKey, click: onClick },
    },
    sizer,
  );
  const readout = element("p", { class: "readout", "aria-live": "polite" });
  const lengths = [HEAD + rows * ROW, SIDE + columns * column].map((length) => Math.min(length, LONGEST));
  [sizer.style.height, sizer.style.width] = lengths.map((length) => `${length}px`);
  holder.style.setProperty("--column", `${column}px`);
  let [top, left, tall, wide] = [0, 0, 0, 0];
  let cursor = [0, 0];
  let chosen = false;
  let waits = false;

  function measure() {
    tall = Math.min(rows, Math.max(1, Math.floor((holder.clientHeight - HEAD) / ROW)));
    wide = Math.min(columns, Math.max(1, Math.floor((holder.clientWidth - SIDE) / column)));
    [view.style.height, view.style.width] = [`${holder.clientHeight}px`, `${holder.clientWidth}px`];
    scrolled();
    if (waits && holder.clientHeight) pointAt(...cursor);
  }

  function scrolled() {
    top = placed(holder.scrollTop, lengths[0] - holder.clientHeight, rows - tall);
    left = placed(holder.scrollLeft, lengths[1] - holder.clientWidth, columns - wide);
    draw();
  }

  function draw() {
    const lines = [line(-1)];
    for (let y = top; y < top + tall; y += 1) lines.push(line(y));
    view.replaceChildren(...lines);
    attribute(holder, "aria-activedescendant", chosen ? "value" : null);
  }

  function line(y) {
    const cells = [element("div", { class: "side", role: y < 0 ? "columnheader" : "rowheader" }, y < 0 ? "" : whole(y))];
    for (let x = left; x < left + wide; x += 1) {
      if (y < 0) cells.push(element("div", { class: "top", role: "columnheader", "aria-colindex": x + 2 }, whole(x)));
      else cells.push(cell(y, x));
    }
    return element("div", { class: "line", role: "row", "aria-rowindex": y + 2 }, ...cells);
  }

  function cell(y, x) {
    const text = textAt(y, x);
    const here = chosen && cursor[0] === y && cursor[1] === x;
    return element(
      "div",
      {
        class: here ? "value here" : "value",
        id: here ? "value" : null,
        role: "gridcell",
        "aria-colindex": x + 2,
        "data-y": y,
        "data-x": x,
        title: text,
      },
      text ?? "…",
    );
  }

  function textAt(y, x) {
    const [down, across] = [Math.floor(y / TALL), Math.floor(x / WIDE)];
    const tile = tiles.get(`${down} ${across}`) ?? ask(down, across);
    return tile.texts?.[(y - down * TALL) * tile.width + (x - across * WIDE)];
  }

  function ask(down, across) {
    const window = [down * TALL, across * WIDE, Math.min(rows, (down + 1) * TALL), Math.min(columns, (across + 1) * WIDE)];
    const tile = { texts: null, width: window[3] - window[1] };
    tiles.set(`${down} ${across}`, tile);
    if (tiles.size > KEPT) tiles.delete(tiles.keys().next().value);
    read(window).then(
      (texts) => {
        tile.texts = texts;
        if (holder.isConnected) draw();
        tell();
      },
      (error) => (readout.textContent = error.message),
    );
    return tile;
  }

  function tell() {
    if (!chosen) return;
    const at = cursor[0] * columns + cursor[1];
    const entry = entryOf(index, row, at);
    readout.textContent = `${placeText(index, row, at)} = ${textAt(...cursor) ?? "…"}${entry === null ? "" : `  ·  entry ${entry} of the vector`}`;
  }

  function pointAt(y, x) {
    [cursor, chosen, waits] = [[y, x], true, false];
    const down = y < top ? y : y >= top + tall ? y - tall + 1 : top;
    const right = x < left ? x : x >= left + wide ? x - wide + 1 : left;
    if (down !== top) holder.scrollTop = pixels(down, lengths[0] - holder.clientHeight, rows - tall);
    if (right !== left) holder.scrollLeft = pixels(right, lengths[1] - holder.clientWidth, columns - wide);
    [top, left] = [down, right];
    draw();
    tell();
  }

  function onKey(event) {
    const [y, x] = cursor;
    const steps = {
      ArrowDown: [y + 1, x],
      ArrowUp: [y - 1, x],
      ArrowRight: [y, x + 1],
      ArrowLeft: [y, x - 1],
      PageDown: [y + tall, x],
      PageUp: [y - tall, x],
      Home: [y, 0],
      End: [y, columns - 1],
    };
    if (!(event.key in steps) || event.altKey || event.metaKey) return;
    const [down, right] = chosen ? steps[event.key] : cursor;
    pointAt(Math.max(0, Math.min(rows - 1, down)), Math.max(0, Math.min(columns - 1, right)));
    event.preventDefault();
  }

  function onClick(event) {
    const { y, x } = event.target.dataset;
    if (y !== undefined) pointAt(Number(y), Number(x));
  }

  holder.addEventListener("scroll", () => {
    const [down, right] = [
      placed(holder.scrollTop, lengths[0] - holder.clientHeight, rows - tall),
      placed(holder.scrollLeft, lengths[1] - holder.clientWidth, columns - wide),
    ];
    if (down !== top || right !== left) scrolled();
  });
  new ResizeObserver(measure).observe(holder);
  return {
    element: element("div", { class: "numbers" }, holder, readout),
    /** Go to an entry, also before the grid stands in the page. */
    go(at) {
      cursor = [Math.floor(at / columns), at % columns];
      waits = true;
      if (holder.isConnected) measure();
    },
  };
}

function widthOf(dtype) {
  return dtype.startsWith("complex") ? PAIR : /64$/.test(dtype) ? LONG : COLUMN;
}

function placed(scroll, room, most) {
  return room > 0 ? Math.max(0, Math.min(most, Math.round((scroll / room) * most))) : 0;
}

function pixels(place, room, most) {
  return most > 0 ? Math.round((place / most) * room) : 0;
}
