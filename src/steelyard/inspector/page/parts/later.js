// @ts-check
// A view of the net whose record is read when the view is first chosen.

import { element, messageOf, replace } from "../draw/element.js";
import { shownName } from "../data/text.js";

/**
 * The view that `make(record)` returns once `asked` has come; until then, and where there is none, a line that says so.
 * @type {<Made extends { error?: string }>(net: Net, asked: Promise<Made>, make: (record: Made) => NetView) => NetView}
 */
export function later(net, asked, make) {
  const holder = element("div", { class: "later" }, element("p", { class: "none", role: "status" }, "Reading …"));
  const legend = element("div", { class: "view-tools" });
  /** @type {NetView | null} */
  let made = null;
  /** @type {{ row: number, rows: number[] | null }} */
  const now = { row: -1, rows: null };
  asked.then(arrived).catch((error) => trouble(messageOf(error)));

  /** @type {(record: Parameters<typeof make>[0]) => void} */
  function arrived(record) {
    if (record.error) {
      trouble(record.error);
      return;
    }
    made = make(record);
    replace(holder, made.element);
    replace(legend, made.legend);
    made.open(now.row);
    if (now.rows) made.show(now.rows);
    made.refresh();
    net.onSight?.();
  }

  /** @type {(message: string) => void} */
  function trouble(message) {
    replace(holder, element("p", { class: "trouble" }, shownName(message)));
  }

  return {
    element: holder,
    legend,
    open(row) {
      now.row = row;
      made?.open(row);
    },
    show(rows) {
      now.rows = rows;
      made?.show(rows);
    },
    refresh: () => made?.refresh(),
    focus: () => made?.focus(),
    wants: () => made?.wants?.() ?? [],
  };
}
