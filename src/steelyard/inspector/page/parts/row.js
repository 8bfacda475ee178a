// @ts-check
// A row of the table, and the heads of its columns.

import { element, nameElement, writeName } from "../draw/element.js";
import { HEIGHT, WIDTH, drawSpark } from "../draw/sparkline.js";
import { HIGH, WIDE, drawThumb } from "../draw/thumb.js";
import { axisText } from "../data/text.js";

const SEVERITIES = ["info", "warning", "error"];

/**
 * The head of a column; `onSort()` is called when it is clicked.
 * @type {(column: Column, nth: number, onSort: () => void) => HTMLElement}
 */
export function headOf(column, nth, onSort) {
  const inner = column.keys ? element("button", { type: "button", on: { click: onSort } }, column.title) : column.title;
  const sort = column.keys ? "none" : null;
  return element(
    "div",
    { class: cellClass(column), role: "columnheader", "aria-colindex": nth + 1, "aria-sort": sort, title: column.hint ?? null },
    inner,
  );
}

/**
 * The labels of the common axis of all sparklines.
 * @type {(end: number) => HTMLElement[]}
 */
export function axisLabels(end) {
  return [-end, 0, end].map((value) => element("span", {}, axisText(value, 2)));
}

/**
 * A row without a weight.
 * @type {(columns: Column[]) => HTMLElement}
 */
export function blankRow(columns) {
  const cells = columns.map((column, nth) =>
    element(
      "div",
      { class: cellClass(column), role: column.key === "name" ? "rowheader" : "gridcell", "aria-colindex": nth + 1 },
      ...partsOf(column.key),
    ),
  );
  return element("div", { class: "row", role: "row" }, ...cells);
}

/**
 * Write a weight into the cells of a row.
 * @type {(node: HTMLElement, columns: Column[], index: Index, row: number) => void}
 */
export function writeCells(node, columns, index, row) {
  columns.forEach((column, nth) => {
    const cell = node.children[nth];
    if (column.key === "name") writeNameCell(cell, index, row);
    else if (column.key === "spark") drawSpark(/** @type {HTMLCanvasElement} */ (cell.firstChild), index, row, index.axis());
    else if (column.key === "thumb") drawThumb(/** @type {HTMLCanvasElement} */ (cell.firstChild), index.thumbs.of(row));
    else if (cell.textContent !== column.text?.(row)) cell.textContent = column.text?.(row) ?? "";
  });
}

/** @type {(cell: Element, index: Index, row: number) => void} */
function writeNameCell(cell, index, row) {
  const [name, mark] = /** @type {HTMLElement[]} */ ([...cell.children]);
  writeName(name, index.shown[row], index.shared);
  mark.textContent = index.findingsOf[row] ? "▲" : index.columns.tied[row] !== null ? "tied" : "";
  mark.title = (index.findingsOf[row] ?? []).map((one) => one.what).join("\n");
  mark.className = `mark ${SEVERITIES[index.worst[row]] ?? ""}`;
}

/** @type {(key: string) => HTMLElement[]} */
function partsOf(key) {
  if (key === "name") return [nameElement(), element("span", { class: "mark" })];
  if (key === "thumb") return [element("canvas", { width: WIDE, height: HIGH, "aria-hidden": "true" })];
  if (key === "spark") return [element("canvas", { width: WIDTH, height: HEIGHT, "aria-hidden": "true" })];
  return [];
}

/** @type {(column: Column) => string} */
function cellClass({ key, right }) {
  return `cell ${["name", "thumb", "spark"].includes(key) ? key : right ? "number" : "word"}-cell`;
}
