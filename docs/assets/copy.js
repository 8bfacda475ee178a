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

/* Of the buttons of a block only one is there, so that they are no landmark among those of the page. */
new MutationObserver(() => {
  for (const each of document.querySelectorAll("nav.md-code__nav:not([role])")) each.setAttribute("role", "group");
}).observe(document.documentElement, { childList: true, subtree: true });
