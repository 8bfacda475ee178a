// @ts-check
// The panel of one weight: its facts and statistics, and the pictures of its numbers.

import { downloads } from "./downloads.js";
import { button, element, messageOf, replace } from "../draw/element.js";
import { change, facts, findings } from "./facts.js";
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
 *   close(): void,
 * }} DetailPanel
 */
/** @typedef {{ row: number, place: HTMLElement, views: import("./views.js").Views }} Shown */
/**
 * @typedef {{
 *   index: Index,
 *   api: Api,
 *   names: string[],
 *   on: DetailListeners,
 *   holder: HTMLElement,
 *   asked: number,
 *   tab: string,
 *   shown: Shown | null,
 * }} Panel
 */

/**
 * The panel of details; the functions of `on` are called for its events.
 * @type {(index: Index, api: Api, names: string[], on: DetailListeners) => DetailPanel}
 */
export function detailPanel(index, api, names, on) {
  const holder = element("section", { class: "detail", "aria-label": "Weight", tabindex: "-1", hidden: true });
  // `asked` counts the opened weights, so that a late answer is recognised; `tab` is kept from weight to weight.
  /** @type {Panel} */
  const panel = { index, api, names, on, holder, asked: 0, tab: "picture", shown: null };
  return {
    element: holder,
    open: (row, at = null) => open(panel, row, at),
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
  const { place, changed, below } = laidOut(panel, row);
  const details = await Promise.all(index.sources.map((_, side) => detailOf(panel, row, side)));
  if (nth !== panel.asked) return;
  details.forEach((detail, side) => detail && learn(index, row, side, detail));
  replace(changed, change(index, row, names));
  panel.on.onLearn();
  const views = viewsOf({ index, row, api, details, names });
  below.replaceChildren(...views.parts);
  if (views.tabs.length) below.append(tabs(views.tabs, panel.tab, (key) => (panel.tab = key)).element);
  panel.shown = { row, place, views };
  await mark(panel, at);
}

/**
 * Show everything that is known at once, and return the elements for the rest.
 * @type {(panel: Panel, row: number) => { place: HTMLElement, changed: HTMLElement, below: HTMLElement }}
 */
function laidOut({ index, api, names, on, holder }, row) {
  const place = element("div", { class: "place", role: "status" });
  const changed = element("div", { class: "changes" });
  const below = element("div", { class: "below" }, element("p", { class: "none", role: "status" }, "Reading …"));
  replace(changed, change(index, row, names));
  holder.hidden = false;
  replace(
    holder,
    header(index, row, on),
    facts(index, row),
    findings(index, row),
    changed,
    downloads(index, api, row, names),
    place,
    below,
  );
  holder.scrollTop = 0;
  return { place, changed, below };
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
  const { row, place, views } = shown;
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

/** @type {(index: Index, row: number, on: DetailListeners) => HTMLElement} */
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
      button("\u2922", onWiden, { title: "Expand to the whole page (f)", "aria-label": "Expand to the whole page" }),
      button("\u00d7", onClose, { title: "Close (Esc)", "aria-label": "Close" }),
    ),
  );
}
