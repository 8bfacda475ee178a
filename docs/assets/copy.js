/* The copy button of an example gives what was typed, without prompts and without what was printed. */
function typed(text) {
  const lines = text.split("\n");
  const prompt = [">>> ", "$ "].find((start) => lines.some((line) => line.startsWith(start)));
  if (!prompt) return text;
  const found = [];
  let goesOn = false;
  for (const line of lines) {
    const starts = line.startsWith(prompt);
    goesOn = starts || (goesOn && prompt === ">>> " && /^\.\.\.( |$)/.test(line));
    if (goesOn) found.push(line.slice(starts ? prompt.length : 4));
  }
  return found.join("\n");
}

/* Before the theme's own handler, which prefers this attribute to the text of the block. */
document.addEventListener(
  "click",
  (event) => {
    const button = event.target.closest("[data-clipboard-target]");
    const block = button && document.querySelector(button.dataset.clipboardTarget);
    if (block) button.dataset.clipboardText = typed(block.textContent);
  },
  { capture: true },
);

/* A wide table scrolls, which the keyboard can do once it can go there. */
/* The theme makes a landmark of the buttons of each block; each has a name of its own, by which readers of screens tell them apart. */
new MutationObserver(() => {
  for (const each of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])")) each.tabIndex = 0;
  for (const [nth, each] of document.querySelectorAll("nav.md-code__nav").entries()) {
    const name = `Buttons of example ${nth + 1}`;
    if (each.getAttribute("aria-label") !== name) each.setAttribute("aria-label", name);
  }
}).observe(document.documentElement, { childList: true, subtree: true });
