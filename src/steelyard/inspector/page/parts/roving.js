// @ts-check
// Buttons of which one at a time is reached by Tab; arrow keys move between them.

/** @type {Record<string, (at: number, last: number) => number>} */
const STEPS = {
  ArrowDown: (at) => at + 1,
  ArrowRight: (at) => at + 1,
  ArrowUp: (at) => at - 1,
  ArrowLeft: (at) => at - 1,
  Home: () => 0,
  End: (_, last) => last,
};

/**
 * Make the buttons in a holder one stop of the Tab key.
 * @type {(holder: HTMLElement) => void}
 */
export function roving(holder) {
  const buttons = () => [...holder.querySelectorAll("button")];
  /** @type {(chosen: HTMLButtonElement) => void} */
  const choose = (chosen) => buttons().forEach((each) => (each.tabIndex = each === chosen ? 0 : -1));
  const [first] = buttons();
  if (first) choose(first);
  holder.addEventListener("focusin", ({ target }) => target instanceof HTMLButtonElement && choose(target));
  holder.addEventListener("keydown", (event) => {
    const listed = buttons();
    const at = listed.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    if (at < 0 || !(event.key in STEPS) || event.ctrlKey || event.metaKey || event.altKey) return;
    listed[Math.max(0, Math.min(listed.length - 1, STEPS[event.key](at, listed.length - 1)))].focus();
    event.preventDefault();
  });
}

/**
 * Give the keyboard to the button that Tab would reach.
 * @type {(holder: HTMLElement) => void}
 */
export function focusIn(holder) {
  /** @type {HTMLElement | null} */ (holder.querySelector('button[tabindex="0"]'))?.focus();
}
