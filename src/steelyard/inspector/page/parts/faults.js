// @ts-check
// What is wrong with the net, on top of the page: the worst finding, which opens its weight, and the way to all others.

import { button, element, replace } from "../draw/element.js";
import { entryAt } from "../data/place.js";
import { counted, shownName } from "../data/text.js";

/** @typedef {{ onFound(place: Place): void, onAll(): void }} FaultListeners */
/** @typedef {{ element: HTMLElement, refresh(): void }} Faults */

const [WARNING, ERROR] = [1, 2];

/**
 * The line of findings; `onFound(place)` is called for the worst, `onAll()` for the table of all weights with findings.
 * @type {(index: Index, on: FaultListeners) => Faults}
 */
export function faultsOf(index, on) {
  const holder = element("div", { class: "faults", role: "status" });
  let shown = -1;
  const refresh = () => {
    const rows = index.worst.flatMap((worst, row) => (worst >= WARNING ? row : []));
    if (rows.length === shown) return;
    shown = rows.length;
    replace(holder, ...lineOf(index, rows, on));
    holder.hidden = !rows.length;
  };
  refresh();
  return { element: holder, refresh };
}

/** @type {(index: Index, rows: number[], on: FaultListeners) => Child[]} */
function lineOf(index, rows, { onFound, onAll }) {
  const worst = Math.max(...rows.map((row) => index.worst[row]));
  const row = rows.find((one) => index.worst[one] === worst);
  const found = row === undefined ? null : index.findingsOf[row]?.find(({ severity }) => severity === (worst === ERROR ? "error" : "warning"));
  if (row === undefined || !found) return [];
  const at = found.place && entryAt(index.columns.shape[row], found.place);
  const others = rows.length - 1;
  return [
    button(`\u25b2 ${shownName(found.what)}`, () => onFound({ row, at }), { class: `fault ${found.severity}`, title: "Open this weight" }),
    others > 0 && button(`and ${counted(others, "other weight")}`, onAll, { class: "more", title: "Show the weights with findings" }),
  ];
}
