// One weight: its facts and figures, and the pictures of its numbers.

import { button, element, replace } from "./element.js";
import { figuresTable } from "./figures.js";
import { filters } from "./filters.js";
import { valuesGrid } from "./grid.js";
import { histogram } from "./histogram.js";
import { pictures } from "./picture.js";
import { entryOf, placeText } from "./place.js";
import { spectrum } from "./spectrum.js";
import { tabs } from "./tabs.js";
import { bytesText, counted, percent, shapeText, short, shownName, whole } from "./text.js";
import { isOn, learn, learnChange } from "./weights.js";

const FORMATS = ["npy", "npz", "safetensors"];

/** The panel of details. `onClose()`, `onStep(step)`, `onWiden()` and `onLearn(row)` are told what happens. */
export function detailPanel(index, source, names, { onClose, onStep, onWiden, onLearn }) {
  const holder = element("section", { class: "detail", "aria-label": "Weight", tabindex: "-1", hidden: true });
  let asked = 0;
  let tab = "picture";
  let shown = null;

  async function open(row, at = null) {
    if (shown?.row === row && shown.ready) return shown.mark(at);
    const nth = (asked += 1);
    const place = element("div", { class: "place", role: "status" });
    const changed = element("div", { class: "changes" });
    const below = element("div", { class: "below" }, element("p", { class: "none", role: "status" }, "Reading …"));
    shown = { row, ready: false, mark: (to) => (at = to) };
    holder.hidden = false;
    const head = header(index, row, { onClose, onStep, onWiden });
    replace(holder, head, facts(index, row), findings(index, row), changed, downloads(index, source, row, names), place, below);
    replace(changed, change(index, row, names));
    holder.scrollTop = 0;
    const details = await Promise.all(index.sides.map((_, side) => detailOf(row, side)));
    if (nth !== asked) return null;
    details.forEach((detail, side) => detail && learn(index, row, side, detail));
    replace(changed, change(index, row, names));
    onLearn(row);
    const views = viewsOf({ index, row, source, details, names });
    below.replaceChildren(...views.parts);
    const chooser = views.tabs.length ? tabs(views.tabs, tab, (key) => (tab = key)) : null;
    if (chooser) below.append(chooser.element);
    shown.ready = true;
    shown.mark = (to) => mark(row, to, place, views, details);
    return shown.mark(at);
  }

  async function detailOf(row, side) {
    if (!isOn(index, row, side)) return null;
    try {
      const detail = await source.detail(row, side);
      const apart =
        side === 0 && source.compare && index.two && isOn(index, row, 1) && !detail.difference ? await source.compare(row) : null;
      if (!apart) return detail;
      learnChange(index, row, apart);
      return { ...detail, difference: apart.difference };
    } catch (error) {
      return { error: error.message };
    }
  }

  function mark(row, at, place, views) {
    views.pictures?.mark(at);
    if (at === null) return place.replaceChildren();
    const entry = entryOf(index, row, at);
    const known = entry === null ? " (tied: not counted in the vector)" : ` is entry ${whole(entry)} of the vector`;
    place.replaceChildren(element("b", {}, placeText(index, row, at)), known, element("span", { class: "told" }));
    views.grids.forEach((grid) => grid.go(at));
    return source.values ? tellValue(row, at, place.lastChild) : null;
  }

  async function tellValue(row, at, told) {
    const [, columns] = index.columns.matrix[row];
    const [y, x] = [Math.floor(at / columns), at % columns];
    const on = sidesAlike(index, row);
    const texts = await Promise.all(
      on.map((side) => source.values(row, side, [y, x, y + 1, x + 1]).catch((error) => [error.message])),
    );
    told.textContent = `: ${texts.map(([text], nth) => (on.length > 1 ? `${text} in ${names[on[nth]]}` : text)).join(", ")}`;
  }

  return {
    element: holder,
    open,
    close() {
      asked += 1;
      shown = null;
      holder.hidden = true;
      holder.replaceChildren();
    },
  };
}

function header(index, row, { onClose, onStep, onWiden }) {
  return element(
    "header",
    {},
    element("h2", {}, index.shown[row]),
    element(
      "div",
      { class: "tools" },
      button("\u2191", () => onStep(-1), { title: "The row above ([)", "aria-label": "The row above" }),
      button("\u2193", () => onStep(1), { title: "The row below (])", "aria-label": "The row below" }),
      button("\u2922", onWiden, { title: "Over the whole page (f)", "aria-label": "Over the whole page" }),
      button("\u00d7", onClose, { title: "Close (Esc)", "aria-label": "Close" }),
    ),
  );
}

function facts(index, row) {
  const { columns } = index;
  const size = columns.size[row];
  const known = [
    ["shape", shapeText(columns.shape[row]) + (columns.axes[row] ? ` (${shownName(columns.axes[row])})` : "")],
    [
      "dtype",
      columns.dtype[row] +
        (columns.stored[row] && columns.stored[row] !== columns.dtype[row]
          ? `, stored as ${shownName(columns.stored[row])}`
          : ""),
    ],
    ["role", columns.role[row]],
    ["layer", columns.layer[row] ? shownName(columns.layer[row]) : ""],
    ["parameters", `${whole(size)}, ${bytesText(columns.bytes[row])}`],
    ["trainable", columns.trainable[row] === null ? "" : columns.trainable[row] ? "yes" : "no"],
    ["tied to", columns.tied[row] === null ? "" : shownName(columns.tied[row])],
    [
      "entries",
      entryOf(index, row, 0) === null || !size
        ? ""
        : `${whole(entryOf(index, row, 0))} to ${whole(entryOf(index, row, size - 1))} of the vector`,
    ],
  ];
  return element(
    "dl",
    { class: "facts" },
    ...known
      .filter(([, text]) => text)
      .map(([word, text]) => element("div", {}, element("dt", {}, word), element("dd", {}, text))),
  );
}

function findings(index, row) {
  const found = index.found[row];
  if (!found) return null;
  return element(
    "ul",
    { class: "findings", "aria-label": "Findings" },
    ...found.map((one) => element("li", { class: one.severity }, element("b", {}, one.kind), " ", shownName(one.what))),
  );
}

function change(index, row, names) {
  const { columns } = index;
  const kind = index.two ? columns.kind[row] : null;
  if (kind === null) return null;
  const from = columns.source[row] && columns.source[row] !== columns.name[row] ? `there ${shownName(columns.source[row])}` : "";
  const words = {
    equal: "equal, bit for bit",
    added: `only in ${names[0]}`,
    removed: `only in ${names[1]}`,
    shape: "of another shape, not compared",
    renamed: "the same numbers under another name",
  };
  const numbers =
    kind === "changed"
      ? [
          `${whole(columns.changed[row])} of ${counted(columns.size[row], "entry", "entries")} changed (${percent(columns.changed[row], columns.size[row])})`,
          `relative change ${short(columns.relative[row]) || "unknown"}`,
          `cosine ${short(columns.cosine[row]) || "unknown"}`,
          `largest ${short(columns.max_abs[row])}`,
        ]
      : [words[kind] ?? kind];
  const verdict = columns.verdict[row] ? element("b", {}, ` ${shownName(columns.verdict[row])}`) : null;
  return element(
    "p",
    { class: "change" },
    `Against ${names[1]}: `,
    [...numbers, from].filter(Boolean).join(" · "),
    verdict && ".",
    verdict,
  );
}

function downloads(index, source, row, names) {
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

/** The sides that have a row, the older one only where its places are the same. */
function sidesAlike(index, row) {
  const on = index.sides.map((_, side) => side).filter((side) => isOn(index, row, side));
  return index.two && index.columns.kind[row] === "shape" ? on.slice(0, 1) : on;
}

function viewsOf(scene) {
  const { index, row, source, details, names } = scene;
  const broken = details.flatMap((detail, side) =>
    detail?.error ? [element("p", { class: "trouble" }, `${index.two ? `${names[side]}: ` : ""}${shownName(detail.error)}`)] : [],
  );
  const parts = [...broken];
  const size = index.columns.size[row];
  const known = details.map((detail) => detail?.figures ?? null);
  if (known.some(Boolean))
    parts.push(
      element("div", { class: "spread" }, histogram(details, names), index.two ? null : figuresTable(known, names, size)),
    );
  const views = { parts, tabs: [], grids: [], pictures: null };
  const add = (key, title, make) => views.tabs.push({ key, title, make });
  if (size && details.some((detail) => detail?.picture)) {
    views.pictures = pictures(scene);
    add("picture", "Heat map", () => views.pictures.element);
  }
  if (index.two && known.some(Boolean)) add("figures", "Figures", () => figuresTable(known, names, size));
  const on = (word) =>
    details.map((detail, side) => ({ found: detail?.[word], name: index.two ? names[side] : "" })).filter(({ found }) => found);
  if (on("filters").length)
    add("filters", "Filters", () => element("div", {}, ...on("filters").map(({ found, name }) => filters(found, name))));
  if (on("spectrum").length)
    add("spectrum", "Spectrum", () =>
      spectrum(
        details.map((detail) => detail?.spectrum ?? null),
        names,
      ),
    );
  else if (on("spectrum_why").length)
    add("spectrum", "Spectrum", () => element("p", { class: "none" }, shownName(on("spectrum_why")[0].found)));
  if (source.values && size) {
    views.grids = sidesAlike(index, row).flatMap((side) =>
      details[side] && !details[side].error
        ? [valuesGrid({ index, row, size: index.columns.matrix[row], read: (window) => source.values(row, side, window) })]
        : [],
    );
    add("values", "Values", () =>
      element(
        "div",
        {},
        ...views.grids.flatMap((grid, nth) =>
          [index.two ? element("h4", {}, names[sidesAlike(index, row)[nth]]) : null, grid.element].filter(Boolean),
        ),
      ),
    );
  }
  return views;
}
