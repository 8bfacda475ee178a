// @ts-check
// The whole net in one picture at a time, and the buttons that switch between them.

import { architecture } from "./architecture.js";
import { blocks } from "./blocks.js";
import { distributions } from "./distributions.js";
import { sizes } from "./sizes.js";
import { attribute, button, element, replace } from "../draw/element.js";
import { isolated } from "../data/text.js";

/** @typedef {Required<Omit<NetView, "legend">> & { next(): void }} Overview */
/** @typedef {{ maker: NetViewMaker, made: NetView | null, text: string }} Held */

/**
 * The views of a net in the order of their buttons; one that has nothing to show is left out.
 * @type {NetViewMaker[]}
 */
const VIEWS = [
  { key: "distributions", title: "Distributions", fits: () => true, make: distributions },
  { key: "blocks", title: "Blocks", fits: ({ count }) => count > 0, make: blocks },
  { key: "sizes", title: "Size", fits: ({ count }) => count > 0, make: sizes },
  { key: "architecture", title: "Architecture", fits: ({ count }) => count > 0, make: architecture },
];

/**
 * The section with the views of a net; `onOpen(row)` is called when a weight is chosen in one of them, and `onSight()` when others
 * become visible.
 * @type {(net: Omit<Net, "say"> & { onSight(): void }) => Overview}
 */
export function overview(net) {
  const summary = element("p", { class: "summary" });
  const holder = element("div", { class: "net-view" });
  const legend = element("div", { class: "net-legend" });
  /** @type {Held[]} */
  const held = VIEWS.filter(({ fits }) => fits(net.index)).map((maker) => ({ maker, made: null, text: "" }));
  const heads = held.map(({ maker }, nth) => button(maker.title, () => choose(nth), { title: `${maker.title} (v: the next view)` }));
  /** @type {{ row: number, rows: number[] | null }} */
  const now = { row: -1, rows: null };
  let chosen = 0;

  /** A view is made when it is first chosen, and only the chosen one is kept up to date.
   * @type {(nth: number) => void} */
  function choose(nth) {
    chosen = nth;
    heads.forEach((head, each) => attribute(head, "aria-pressed", each === nth));
    const view = viewOf(held[nth]);
    holder.dataset.view = held[nth].maker.key;
    holder.replaceChildren(view.element);
    replace(legend, view.legend);
    view.open(now.row);
    if (now.rows) view.show(now.rows);
    view.refresh();
    summary.textContent = isolated(held[nth].text);
    net.onSight();
  }

  /** @type {(one: Held) => NetView} */
  function viewOf(one) {
    /** @type {(text: string) => void} */
    const say = (text) => {
      one.text = text;
      if (held[chosen] === one) summary.textContent = isolated(text);
    };
    one.made ??= one.maker.make({ ...net, say });
    return one.made;
  }

  choose(0);
  const switcher = heads.length > 1 && element("div", { class: "switcher", role: "group", "aria-label": "Views of the net" }, ...heads);
  const title = element("div", { class: "title" }, element("h2", {}, "Overview"), switcher, summary, legend);
  return {
    element: element("section", { class: "overview", "aria-label": "Overview", hidden: !net.index.count }, title, holder),
    open(row) {
      now.row = row;
      viewOf(held[chosen]).open(row);
    },
    show(rows) {
      now.rows = rows;
      viewOf(held[chosen]).show(rows);
    },
    refresh: () => viewOf(held[chosen]).refresh(),
    focus: () => viewOf(held[chosen]).focus(),
    wants: () => held[chosen].made?.wants?.() ?? [],
    /** Show the next view. */
    next: () => choose((chosen + 1) % held.length),
  };
}
