// @ts-check
// Choosing a part of a picture by dragging over it.

/** @typedef {{ from: Cell, to: Cell }} Part */
/**
 * @typedef {{
 *   cellAt(event: MouseEvent): Cell | null,
 *   mayDrag(event: PointerEvent): boolean,
 *   onPoint(cell: Cell | null, part: Part | null): void,
 *   onPart(part: Part): void,
 * }} PointerListeners
 */

/**
 * Follow the pointer over a canvas: `cellAt(event)` returns its cell, `mayDrag(event)` whether a part can be chosen.
 * `onPoint(cell, part)` gets the cell, null outside the canvas, and the part that is being chosen, or null;
 * `onPart(part)` gets the part once it is chosen.
 * @type {(canvas: HTMLCanvasElement, on: PointerListeners) => void}
 */
export function followPointer(canvas, { cellAt, mayDrag, onPoint, onPart }) {
  /** @type {Cell | null} */
  let from = null;
  /** @type {Part | null} */
  let part = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (!mayDrag(event)) return;
    from = cellAt(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const to = cellAt(event);
    // A click chooses nothing, but a part may shrink to one cell.
    if (from && to && (part || to.join() !== from.join())) part = { from, to };
    onPoint(to, part);
  });
  canvas.addEventListener("pointerup", () => {
    const chosen = part;
    [from, part] = [null, null];
    if (chosen) onPart(chosen);
  });
  canvas.addEventListener("pointerleave", () => from || onPoint(null, null));
}
