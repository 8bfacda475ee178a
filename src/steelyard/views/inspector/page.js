// The page: the overview, the tree, the table and the panel of one weight, and what goes from one to the other.

import { controls } from "./controls.js";
import { detailPanel, linksOf } from "./detail.js";
import { element } from "./element.js";
import { headerOf, sideNames } from "./header.js";
import { shortcuts } from "./keys.js";
import { kept } from "./order.js";
import { overview } from "./overview.js";
import { table } from "./table.js";
import { tree } from "./tree.js";
import { trickle } from "./trickle.js";
import { prepared } from "./weights.js";

/** Windows in which one part lies below the other, as in the style sheet. */
const NARROW = matchMedia("(max-width: 1020px)");

/** Show the weights of a source in an element. */
export async function mount(main, source) {
  try {
    const index = prepared(await source.index());
    await new Promise((painted) => requestAnimationFrame(painted));
    build(main, index, source);
  } catch (error) {
    main.replaceChildren(
      element("p", { class: "waiting trouble", role: "alert" }, `This page cannot be shown: ${error.message}`),
    );
    throw error;
  }
  main.dataset.ready = "";
  window.__ready = true;
  performance.mark("steelyard-ready");
}

function build(main, index, source) {
  const names = sideNames(index);
  const parts = {};
  let layer = null;
  let opened = -1;

  const filtered = () => {
    const wanted = { ...parts.controls.wanted(), rows: layer?.rows ?? null };
    const rows = kept(index, wanted);
    parts.table.show(rows);
    parts.overview.show(rows);
    parts.controls.tell(parts.table.summary(), layer);
  };
  const open = (row, at = null) => {
    opened = row;
    parts.overview.open(row);
    parts.table.open(row);
    parts.tree.open(row);
    main.classList.add("has-detail");
    history.replaceState(null, "", `#w${row}`);
    const done = parts.detail.open(row, at);
    if (NARROW.matches) done.then(() => parts.detail.element.scrollIntoView({ block: "start" }));
    return done;
  };
  const close = () => {
    opened = -1;
    parts.detail.close();
    main.classList.remove("has-detail");
    [parts.overview, parts.table, parts.tree].forEach((part) => part.open(-1));
    history.replaceState(null, "", "#");
    parts.table.element.focus();
  };
  const step = (by) => parts.table.order().length && open(parts.table.next(by));
  const scope = (to) => {
    layer = to;
    if (!to) parts.tree.reset();
    filtered();
  };
  const widen = () => main.classList.toggle("wide");
  const learnt = (row) => {
    parts.table.refresh();
    parts.overview.refresh(row);
  };

  parts.header = headerOf(index, names, {
    onFound: ({ row, at }) => open(row, at),
    downloads: source.live ? (side) => linksOf(source, null, side) : null,
  });
  parts.controls = controls(index, { onChange: filtered, onScope: () => scope(null) });
  parts.tree = tree(index, { onLayer: scope, onOpen: open });
  parts.overview = overview(index, parts.tree.root, open);
  const ask = trickle(index, source, { rows: () => parts.table.inSight(), onLearn: learnt, onDone: () => parts.table.again() });
  parts.table = table(index, { onOpen: open, onSight: ask });
  parts.detail = detailPanel(index, source, names, { onClose: close, onStep: step, onWiden: widen, onLearn: learnt });
  main.replaceChildren(
    parts.header.element,
    parts.overview.element,
    element("nav", { class: "layers", "aria-label": "Layers" }, element("h2", {}, "Layers"), parts.tree.element),
    element("section", { class: "weights", "aria-label": "Weights" }, parts.controls.element, parts.table.element),
    parts.detail.element,
  );
  filtered();
  shortcuts({ ...parts, close, step, widen, opened: () => opened });
  const printing = (on) => parts.controls.tell(parts.table.print(on), layer);
  addEventListener("beforeprint", () => printing(true));
  addEventListener("afterprint", () => printing(false));
  const asked = /^#w(\d+)$/.exec(location.hash);
  if (asked && Number(asked[1]) < index.count) open(Number(asked[1]));
}
