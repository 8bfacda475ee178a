// @ts-check
// The panel of one weight: its facts and statistics, and the pictures of its numbers.

import { downloads } from "./downloads.js";
import { attribute, button, element, messageOf, replace } from "../draw/element.js";
import { brief, change, facts, findings } from "./facts.js";
import { entryText } from "../draw/cells.js";
import { entryOf, placeText } from "../data/place.js";
import { tabs } from "./tabs.js";
import { whole } from "../data/text.js";
import { viewsOf } from "./views.js";
import { isOn, learn, learnChange, sidesAlike } from "../data/weights.js";

/**
 * @typedef {{
 *   onClose(): void,
 *   onStep(step: number): void,
 *   onWiden(): void,
 *   onLearn(): void,
 * }} DetailListeners
 */
/**
 * @typedef {{
 *   element: HTMLElement,
 *   open(row: number, at?: number | null): Promise<void>,
 *   widen(on: boolean): void,
 *   close(): void,
 * }} DetailPanel
 */
/** @typedef {{ row: number, place: HTMLElement, details: (Detail | null)[], views: import("./views.js").Views, tabs: import("./tabs.js").Tabs | null }} Shown */
/**
 * @typedef {{
 *   index: Index,
 *   api: Api,
 *   names: string[],
 *   on: DetailListeners,
 *   holder: HTMLElement,
 *   asked: number,
 *   tab: string,
 *   wide: boolean,
 *   shown: Shown | null,
 * }} Panel
 */

/**
 * The panel of details; the functions of `on` are called for its events.
 * @type {(index: Index, api: Api, names: string[], on: DetailListeners) => DetailPanel}
 */
export function detailPanel(index, api, names, on) {
  const holder = element("section", { class: "detail", "aria-label": "Weight", tabindex: "-1", hidden: true });
  // `asked` counts the opened weights, so that a late answer is recognised; a chosen `tab` is kept from weight to weight.
  /** @type {Panel} */
  const panel = { index, api, names, on, holder, asked: 0, tab: "", wide: false, shown: null };
  return {
    element: holder,
    open: (row, at = null) => open(panel, row, at),
    widen(on) {
      panel.wide = on;
      holder.querySelector(".widen")?.replaceWith(widenerOf(panel));
      const name = holder.querySelector("h2"); // the only heading of a full page
      if (name) attribute(name, "aria-level", on ? 1 : null);
    },
    close() {
      panel.asked += 1;
      panel.shown = null;
      holder.hidden = true;
      holder.replaceChildren();
    },
  };
}

/** @type {(panel: Panel, row: number, at: number | null) => Promise<void>} */
async function open(panel, row, at) {
  const { index, api, names } = panel;
  if (panel.shown?.row === row) {
    await mark(panel, at);
    return;
  }
  const nth = (panel.asked += 1);
  panel.shown = null;
  const { found, place, changed, pictures, spread } = laidOut(panel, row);
  const details = await Promise.all(index.sources.map((_, side) => detailOf(panel, row, side)));
  if (nth !== panel.asked) return;
  details.forEach((detail, side) => detail && learn(index, row, side, detail));
  replace(changed, change(index, row, names));
  replace(found, findings(index, row));
  panel.on.onLearn();
  const views = viewsOf({ index, row, api, details, names });
  const tabbed = views.tabs.length ? tabs(views.tabs, panel.tab, (key) => (panel.tab = key)) : null;
  replace(pictures, ...views.troubles, tabbed?.element);
  replace(spread, views.spread);
  panel.shown = { row, place, details, views, tabs: tabbed };
  await mark(panel, at);
}

/** @typedef {Record<"found" | "place" | "changed" | "pictures" | "spread", HTMLElement>} Holders */

/**
 * Show everything that is known at once, and return the elements for the rest.
 * @type {(panel: Panel, row: number) => Holders}
 */
function laidOut(panel, row) {
  const { index, api, names, holder } = panel;
  const found = element("div", {}, findings(index, row));
  const place = element("div", { class: "place", role: "status" });
  const changed = element("div", { class: "changes" });
  const pictures = element("div", { class: "below" }, element("p", { class: "none", role: "status" }, "Reading …"));
  const spread = element("div", {});
  replace(changed, change(index, row, names));
  holder.hidden = false;
  replace(
    holder,
    header(panel, row),
    brief(index, row),
    found,
    place,
    pictures,
    element("div", { class: "aside" }, changed, spread, facts(index, row), downloads(index, api, row, names)),
  );
  holder.scrollTop = 0;
  return { found, place, changed, pictures, spread };
}

/** @type {(panel: Panel, row: number, side: number) => Promise<Detail | null>} */
async function detailOf({ index, api }, row, side) {
  if (!isOn(index, row, side)) return null;
  try {
    const detail = await api.detail(row, side);
    const compares = side === 0 && index.two && isOn(index, row, 1) && !detail.difference;
    const apart = api.live && compares ? await api.compare(row) : null;
    if (!apart) return detail;
    learnChange(index, row, apart);
    return { ...detail, difference: apart.difference };
  } catch (error) {
    return { error: messageOf(error) };
  }
}

/** @type {(panel: Panel, at: number | null) => Promise<void>} */
async function mark(panel, at) {
  const { index, api, shown } = panel;
  if (!shown) return;
  const { row, place, views, tabs: tabbed } = shown;
  if (at !== null && tabbed?.key() !== "values") tabbed?.show("picture");
  views.pictures?.mark(at);
  if (at === null) {
    place.replaceChildren();
    return;
  }
  const entry = entryOf(index, row, at);
  const valueText = element("span", {});
  const known = entry === null ? " (tied: not counted in the vector)" : ` is entry ${whole(entry)} of the vector`;
  place.replaceChildren(element("b", {}, placeText(index, row, at)), known, valueText);
  views.grids.forEach((grid) => grid.go(at));
  if (api.live) await showValue(panel, api, row, at, valueText);
  else valueText.textContent = embeddedValue(panel, shown, at);
}

/**
 * What a report can tell of an entry: its number to within a shade, if its picture has a cell for each number.
 * @type {(panel: Panel, shown: Shown, at: number) => string}
 */
function embeddedValue({ index, names }, { row, details }, at) {
  const sides = sidesAlike(index, row);
  const texts = sides.map((side) => {
    const detail = details[side];
    const text = detail?.picture ? entryText(detail.picture, at) : "";
    return text && sides.length > 1 ? `${text} in ${names[side]}` : text;
  });
  if (texts.some(Boolean)) return `: ${texts.filter(Boolean).join(", ")}`;
  return `; a report has no room for each number: steelyard show FILE '${placeText(index, row, at).replaceAll(" ", "")}' prints it`;
}

/** @type {(panel: Panel, api: LiveApi, row: number, at: number, valueText: Node) => Promise<void>} */
async function showValue({ index, names }, api, row, at, valueText) {
  const [, columns] = index.columns.matrix[row];
  const [y, x] = [Math.floor(at / columns), at % columns];
  const sides = sidesAlike(index, row);
  const texts = await Promise.all(
    sides.map((side) => api.values(row, side, [y, x, y + 1, x + 1]).catch((error) => [messageOf(error)])),
  );
  valueText.textContent = `: ${texts.map(([text], nth) => (sides.length > 1 ? `${text} in ${names[sides[nth]]}` : text)).join(", ")}`;
}

/** @type {(panel: Panel, row: number) => HTMLElement} */
function header(panel, row) {
  const { index, on } = panel;
  return element(
    "header",
    {},
    element("h2", { "aria-level": panel.wide ? 1 : null }, index.shown[row]),
    element(
      "div",
      { class: "tools" },
      button("\u2191", () => on.onStep(-1), { title: "The row above ([)", "aria-label": "The row above" }),
      button("\u2193", () => on.onStep(1), { title: "The row below (])", "aria-label": "The row below" }),
      widenerOf(panel),
      button("\u00d7", on.onClose, { title: "Close (Esc)", "aria-label": "Close" }),
    ),
  );
}

/** @type {(panel: Panel) => HTMLElement} */
function widenerOf({ on, wide }) {
  const title = wide ? "Show the other weights beside this one again (f)" : "Expand to the whole page (f)";
  return button(wide ? "Shrink" : "Full page", on.onWiden, { class: "widen", title });
}
