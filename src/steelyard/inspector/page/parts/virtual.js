// @ts-check
// A long list; only its visible rows are elements of the page.

/** @typedef {(node: HTMLElement, nth: number) => void} Fill */
/** @typedef {{ node: HTMLElement, nth: number }} Slot */
/**
 * @typedef {{
 *   scroller: HTMLElement,
 *   body: HTMLElement,
 *   height: number,
 *   make(): HTMLElement,
 *   fill: Fill,
 *   slots: Slot[],
 *   count: number,
 *   printed: number,
 * }} List
 */

const AROUND = 4;

/**
 * Rows of one height in a scroller; `make()` returns an element, and `fill(element, nth)` writes a row into it.
 * Elements are reused: row n is always in element n modulo their number.
 * @type {(scroller: HTMLElement, body: HTMLElement, height: number, make: () => HTMLElement, fill: Fill) => VirtualList}
 */
export function virtual(scroller, body, height, make, fill) {
  /** @type {List} */
  const list = { scroller, body, height, make, fill, slots: [], count: 0, printed: 0 };
  scroller.addEventListener("scroll", () => draw(list), { passive: true });
  new ResizeObserver(() => draw(list)).observe(scroller);
  return {
    draw: (force) => draw(list, force),
    /** Show so many rows from the top; `settle()` is called when their room is known, before they are made. */
    show(count, settle) {
      list.count = count;
      body.style.height = `${count * height}px`;
      settle?.();
      draw(list, true);
    },
    /** Scroll as little as makes a row visible below a head of `covered` pixels. */
    reveal(nth, covered = 0) {
      const [top, room] = [nth * height, scroller.clientHeight - covered - height];
      if (scroller.scrollTop > top) scroller.scrollTop = top;
      else if (scroller.scrollTop < top - room) scroller.scrollTop = top - Math.max(room, 0);
      draw(list);
    },
    inSight: () => list.slots.map((slot) => slot.nth),
    /** Lay out the first `count` rows, visible or not; 0 ends that. */
    print(count) {
      list.printed = count;
      draw(list, true);
    },
    perPage: () => Math.max(1, Math.floor(scroller.clientHeight / height) - 2),
  };
}

/** @type {(list: List, force?: boolean) => void} */
function draw(list, force = false) {
  const { scroller, height, slots, count, printed } = list;
  const room = printed || Math.ceil((scroller.clientHeight || 600) / height) + 2 * AROUND;
  const wanted = Math.min(room, count);
  const all = force || slots.length < wanted;
  resize(list, wanted);
  const first = printed ? 0 : Math.max(0, Math.min(Math.floor(scroller.scrollTop / height) - AROUND, count - wanted));
  for (let nth = first; nth < first + wanted; nth += 1) place(list, slots[nth % wanted], nth, all);
}

/** @type {(list: List, wanted: number) => void} */
function resize({ body, make, slots }, wanted) {
  while (slots.length > wanted) slots.pop()?.node.remove();
  while (slots.length < wanted) {
    const node = make();
    body.append(node);
    slots.push({ node, nth: -1 });
  }
}

/** @type {(list: List, slot: Slot, nth: number, force: boolean) => void} */
function place({ height, fill }, slot, nth, force) {
  if (slot.nth === nth && !force) return;
  if (slot.nth !== nth) slot.node.style.transform = `translateY(${nth * height}px)`;
  slot.nth = nth;
  fill(slot.node, nth);
}

/**
 * The place to which a key moves the cursor of a list; null for any other key.
 * @type {(key: string, at: number, count: number, page: number) => number | null}
 */
export function moved(key, at, count, page) {
  /** @type {Record<string, number>} */
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -count, End: count };
  return key in steps && count ? Math.max(0, Math.min(count - 1, at + steps[key])) : null;
}
