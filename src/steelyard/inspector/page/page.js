// @ts-check
// The page: the overview, the tree, the table and the panel of one weight, and the events that connect them.

import { addressOf, rowInAddress } from "./data/address.js";
import { controls } from "./parts/controls.js";
import { detailPanel } from "./parts/detail.js";
import { linksOf } from "./parts/downloads.js";
import { element, messageOf } from "./draw/element.js";
import { headerOf, sideNames } from "./parts/header.js";
import { shortcuts } from "./parts/keys.js";
import { kept } from "./data/order.js";
import { overview } from "./parts/overview.js";
import { table } from "./parts/table.js";
import { tree } from "./parts/tree.js";
import { trickle } from "./data/trickle.js";
import { prepared } from "./data/weights.js";

/**
 * @typedef {{
 *   main: HTMLElement,
 *   index: Index,
 *   api: Api,
 *   address: import("./data/address.js").Address,
 *   layer: Layer | null,
 *   opened: number,
 * }} State
 */
/**
 * @typedef {{
 *   header: import("./parts/header.js").Header,
 *   controls: import("./parts/controls.js").Controls,
 *   tree: import("./parts/tree.js").Tree,
 *   overview: import("./parts/overview.js").Overview,
 *   table: import("./parts/table.js").Table,
 *   detail: import("./parts/detail.js").DetailPanel,
 * }} Parts
 */
/** @typedef {State & Parts} Page */

/** Rows of a net that has little else to show than its weights. */
const SMALL = 12;
/** In narrow windows each part is below the one before, as in the style sheet. */
const NARROW = matchMedia("(max-width: 1020px)");

/**
 * Show the weights of a server or a report in an element.
 * @type {(main: HTMLElement, api: Api) => Promise<void>}
 */
export async function mount(main, api) {
  try {
    const index = prepared(await api.index());
    await new Promise((painted) => requestAnimationFrame(painted));
    build(main, index, api);
  } catch (error) {
    main.replaceChildren(
      element("p", { class: "waiting trouble", role: "alert" }, `This page cannot be shown: ${messageOf(error)}`),
    );
    throw error;
  }
  main.dataset.ready = "";
  window.__ready = true;
  // the page can be used when its first frame is drawn, and the strip with it
  requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("steelyard-ready")));
}

/** @type {(main: HTMLElement, index: Index, api: Api) => void} */
function build(main, index, api) {
  const address = addressOf(index.count, (row) => void (row < 0 ? hide(page) : show(page, row)));
  /** @type {State} */
  const state = { main, index, api, address, layer: null, opened: -1 };
  /** @type {Page} */
  const page = Object.assign(state, partsOf(state, () => page));
  main.classList.toggle("small", index.count <= SMALL);
  main.replaceChildren(
    page.header.element,
    page.overview.element,
    element("nav", { class: "layers", "aria-label": "Layers" }, element("h2", {}, "Layers"), page.tree.element),
    element("section", { class: "weights", "aria-label": "Weights" }, page.controls.element, page.table.element),
    page.detail.element,
  );
  filter(page);
  shortcuts({
    ...page,
    close: () => close(page),
    step: (by) => step(page, by),
    widen: (on) => widen(page, on),
    isWide: () => isWide(page),
    opened: () => page.opened,
  });
  addEventListener("beforeprint", () => print(page, true));
  addEventListener("afterprint", () => print(page, false));
  const asked = rowInAddress(index.count);
  const first = NARROW.matches ? -1 : firstOf(page);
  if (asked >= 0 || first >= 0) show(page, asked >= 0 ? asked : first);
}

/**
 * The row with which a small net opens, -1 for a large one: of a pair the greatest change, else the first of the table that is
 * more than a list of numbers.
 * @type {(page: Page) => number}
 */
function firstOf({ index, table: { order } }) {
  if (index.count > SMALL) return -1;
  const rows = order();
  if (index.two && rows.length && index.columns.kind[rows[0]] !== "equal") return rows[0];
  return rows.find((row) => index.columns.shape[row].length > 1) ?? rows[0] ?? -1;
}

/**
 * Make the parts of the page; `page()` returns the finished page.
 * @type {(state: State, page: () => Page) => Parts}
 */
function partsOf({ index, api }, page) {
  const names = sideNames(index);
  const { download } = api;
  /** @type {(row: number) => void} */
  const onOpen = (row) => void open(page(), row);
  const onLearn = () => [page().table, page().overview, page().header, page().controls].forEach((part) => part.refresh());
  const onSight = trickle(index, api, {
    rows: () => [...page().table.inSight(), ...page().overview.wants()],
    onLearn,
    onThumbs: () => page().table.refresh(),
    onDone: () => page().table.again(),
  });
  const layers = tree(index, { onLayer: (layer) => scope(page(), layer), onOpen });
  return {
    header: headerOf(index, names, {
      onFound: ({ row, at }) => open(page(), row, at),
      onAll: () => page().controls.onlyFound(),
      downloads: download && ((side) => linksOf(download, null, side)),
    }),
    controls: controls(index, { onChange: () => filter(page()), onScope: () => scope(page(), null) }),
    tree: layers,
    overview: overview({ index, api, root: layers.root, onOpen, onSight }),
    table: table(index, { onOpen, onSight }),
    detail: detailPanel(index, api, names, {
      onClose: () => close(page()),
      onStep: (by) => step(page(), by),
      onWiden: () => widen(page()),
      onLearn,
    }),
  };
}

/** @type {(page: Page) => void} */
function filter(page) {
  const rows = kept(page.index, { ...page.controls.wanted(), rows: page.layer?.rows ?? null });
  page.table.show(rows);
  page.overview.show(rows);
  page.controls.showSummary(page.table.summary(), page.layer);
}

/** @type {(page: Page, layer: Layer | null) => void} */
function scope(page, layer) {
  page.layer = layer;
  if (!layer) page.tree.reset();
  filter(page);
}

/** @type {(page: Page, row: number, at?: number | null) => Promise<void>} */
async function open(page, row, at = null) {
  page.address.opened(row);
  await show(page, row, at);
  if (NARROW.matches) page.detail.element.scrollIntoView({ block: "start" });
}

/** @type {(page: Page, row: number, at?: number | null) => Promise<void>} */
async function show(page, row, at = null) {
  page.opened = row;
  [page.overview, page.table, page.tree].forEach((part) => part.open(row));
  page.main.classList.add("has-detail");
  await page.detail.open(row, at);
}

/** @type {(page: Page) => void} */
function close(page) {
  page.address.closed();
  hide(page);
}

/** @type {(page: Page) => void} */
function hide(page) {
  page.opened = -1;
  page.detail.close();
  page.main.classList.remove("has-detail");
  widen(page, false);
  [page.overview, page.table, page.tree].forEach((part) => part.open(-1));
  page.table.element.focus();
}

/** @type {(page: Page, by: number) => void} */
function step(page, by) {
  if (page.table.order().length) open(page, page.table.next(by));
}

/** @type {(page: Page) => boolean} */
function isWide({ main }) {
  return main.classList.contains("wide");
}

/**
 * Give the whole window to the open weight, or the other parts their places again.
 * @type {(page: Page, on?: boolean) => void}
 */
function widen(page, on = !isWide(page)) {
  if (isWide(page) === on) return;
  page.main.classList.toggle("wide", on);
  page.detail.widen(on);
}

/** @type {(page: Page, on: boolean) => void} */
function print(page, on) {
  page.controls.showSummary(page.table.print(on), page.layer);
}
