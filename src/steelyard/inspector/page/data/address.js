// @ts-check
// The open weight in the address of the page: a link opens it, and the browser's Back closes it.

/** @typedef {{ opened(row: number): void, closed(): void }} Address */

const CLOSED = -1;

/**
 * Keep the address up to date; `onChange(row)` is called when the user goes back or forward, with -1 for no weight.
 * @type {(count: number, onChange: (row: number) => void) => Address}
 */
export function addressOf(count, onChange) {
  addEventListener("popstate", () => onChange(rowInAddress(count)));
  return {
    /** Weights that are opened one after another are one step back; so are those that are closed and opened again. */
    opened(row) {
      const isOwn = rowInAddress(count) >= 0 || history.state?.row === CLOSED;
      write(isOwn ? "replaceState" : "pushState", row, `#w${row}`);
    },
    closed() {
      if (rowInAddress(count) >= 0) write("replaceState", CLOSED, "#");
    },
  };
}

/**
 * The row that the address names, -1 if none.
 * @type {(count: number) => number}
 */
export function rowInAddress(count) {
  const asked = /^#w(\d+)$/.exec(location.hash);
  return asked && Number(asked[1]) < count ? Number(asked[1]) : -1;
}

/** @type {(how: "replaceState" | "pushState", row: number, hash: string) => void} */
function write(how, row, hash) {
  try {
    // the whole address: in a frame of a notebook a fragment alone would be one of the notebook
    history[how]({ row }, "", location.href.split("#")[0] + hash);
  } catch {
    // A page inside of another, as in a notebook, may have no address of its own.
  }
}
