// The table of weights: any number of rows, of which those in sight are in the page.

import { columnsOf } from "./columns.js";
import { attribute, element, nameElement, writeName } from "./element.js";
import { sorted } from "./order.js";
import { HEIGHT, WIDTH, drawSpark } from "./sparkline.js";
import { axisText, counted, whole } from "./text.js";
import { onTheme } from "./theme.js";
import { moved, virtual } from "./virtual.js";

const ROW = 26;
const HEAD = 30;
const PRINTED = 500;
const SPARKED = ["info", "warning", "error"];

/** The table of an index. `onOpen(row)` is called for a row that is chosen, `onSight(rows)` when rows come into sight. */
export function table(index, { onOpen, onSight }) {
  const columns = columnsOf(index);
  let rows = [];
  let order = [];
  let by = index.two ? { key: "relative", descending: true } : { key: null, descending: false };
  let cursor = 0;
  let open = -1;

  const heads = columns.map((column, nth) => head(column, nth, () => sortBy(column)));
  const body = element("div", { class: "rows", role: "rowgroup" });
  const grid = element(
    "div",
    {
      class: "table",
      role: "grid",
      tabindex: "0",
      "aria-label": "Weights",
      "aria-colcount": columns.length,
      on: { keydown: onKey, click: onClick },
    },
    element(
      "div",
      { class: "heads", role: "rowgroup" },
      element("div", { class: "row head", role: "row", "aria-rowindex": "1" }, ...heads),
    ),
    body,
  );
  grid.style.setProperty("--columns", columns.map(({ width }) => (width ? `${width}px` : "minmax(var(--name), 1fr)")).join(" "));
  grid.style.setProperty("--least", `${columns.reduce((sum, { width }) => sum + width, 0)}px`);
  const list = virtual(grid, body, ROW, () => blank(columns), fill);
  onTheme(() => list.draw(true));
  grid.addEventListener("scroll", () => onSight?.(), { passive: true });

  function fill(node, nth) {
    const row = order[nth];
    node.id = `row-${row}`;
    node.dataset.nth = nth;
    attribute(node, "aria-rowindex", nth + 2);
    attribute(node, "aria-selected", row === open);
    node.classList.toggle("cursor", nth === cursor);
    node.classList.toggle("gone", index.two && !index.columns.sides[row][0]);
    columns.forEach((column, at) => cell(node.children[at], column, row));
  }

  function cell(node, column, row) {
    if (column.key === "name") {
      writeName(node.firstChild, index.shown[row]);
      node.lastChild.textContent = index.found[row] ? "▲" : index.columns.tied[row] !== null ? "tied" : "";
      node.lastChild.title = (index.found[row] ?? []).map((one) => one.what).join("\n");
      node.lastChild.className = `mark ${SPARKED[index.worst[row]] ?? ""}`;
    } else if (column.key === "spark") drawSpark(node.firstChild, index, row, index.sparks[0].axis());
    else if (node.textContent !== column.text(row)) node.textContent = column.text(row);
  }

  function sortBy(column) {
    if (!column.keys) return;
    const first = Boolean(column.right) || column.key === "shape";
    if (by.key !== column.key) by = { key: column.key, descending: first };
    else if (by.descending === first) by = { key: column.key, descending: !first };
    else by = { key: null, descending: false };
    arrange();
    grid.scrollTop = 0;
  }

  function arrange() {
    const column = columns.find(({ key }) => key === by.key);
    order = column ? sorted(rows, column.keys(), by.descending) : rows;
    cursor = Math.max(0, order.indexOf(open));
    columns.forEach(
      ({ key, keys }, nth) =>
        keys && attribute(heads[nth], "aria-sort", key !== by.key ? "none" : by.descending ? "descending" : "ascending"),
    );
    grid.classList.toggle("empty", !order.length);
    attribute(grid, "aria-rowcount", order.length + 1);
    labelAxis();
    list.show(order.length);
    pointAt(cursor, false);
    onSight?.();
  }

  function summary() {
    return counted(order.length, "weight") + (order.length < index.count ? ` of ${whole(index.count)}` : "");
  }

  function labelAxis() {
    const axis = columns.findIndex(({ key }) => key === "spark");
    heads[axis].replaceChildren(...axisLabels(index.sparks[0].axis()));
  }

  function pointAt(nth, reveal = true) {
    const was = grid.querySelector(".row.cursor");
    was?.classList.remove("cursor");
    cursor = nth;
    if (reveal) list.reveal(nth, HEAD);
    const node = order.length ? document.getElementById(`row-${order[nth]}`) : null;
    node?.classList.add("cursor");
    attribute(grid, "aria-activedescendant", node ? node.id : null);
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== grid) return;
    const next = moved(event.key, cursor, order.length, list.perPage());
    if (next !== null) pointAt(next);
    else if ((event.key === "Enter" || event.key === " ") && order.length) onOpen(order[cursor]);
    else return;
    event.preventDefault();
  }

  function onClick(event) {
    const node = event.target.closest(".rows > .row");
    if (!node) return;
    pointAt(Number(node.dataset.nth), false);
    onOpen(order[cursor]);
  }

  return {
    element: grid,
    show(kept) {
      rows = kept;
      arrange();
      grid.scrollTop = 0;
    },
    open(row) {
      open = row;
      list.draw(true);
      const nth = order.indexOf(row);
      if (nth >= 0) pointAt(nth);
    },
    next: (step) => order[Math.max(0, Math.min(order.length - 1, order.indexOf(open) + step))],
    /** Sort again, after figures have come. */
    again: () => by.key && arrange(),
    refresh() {
      labelAxis();
      list.draw(true);
    },
    inSight: () => list.inSight().map((nth) => order[nth]),
    order: () => order,
    /** Lay out all rows for paper, or no more of them than are read there, and say what is shown. */
    print(on) {
      const rest = on && order.length > PRINTED ? `, of which the first ${PRINTED} are printed` : "";
      list.print(on ? Math.min(order.length, PRINTED) : 0);
      return summary() + rest;
    },
    summary,
  };
}

function head(column, nth, onSort) {
  const inner = column.keys ? element("button", { type: "button", on: { click: onSort } }, column.title) : column.title;
  const sort = column.keys ? "none" : null;
  return element(
    "div",
    { class: cellClass(column), role: "columnheader", "aria-colindex": nth + 1, "aria-sort": sort, title: column.hint ?? null },
    inner,
  );
}

function axisLabels(end) {
  return [-end, 0, end].map((value) => element("span", {}, axisText(value, 2)));
}

function cellClass({ key, right }) {
  return `cell ${key === "name" || key === "spark" ? key : right ? "number" : "word"}-cell`;
}

function blank(columns) {
  return element(
    "div",
    { class: "row", role: "row" },
    ...columns.map((column, nth) => {
      const node = element("div", {
        class: cellClass(column),
        role: column.key === "name" ? "rowheader" : "gridcell",
        "aria-colindex": nth + 1,
      });
      if (column.key === "name") node.append(nameElement(), element("span", { class: "mark" }));
      if (column.key === "spark") node.append(element("canvas", { width: WIDTH, height: HEIGHT, "aria-hidden": "true" }));
      return node;
    }),
  );
}
