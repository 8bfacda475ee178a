// @ts-check
// Light or dark: as the browser prefers, or in a frame within a notebook as the page around it is.

const DARK = matchMedia("(prefers-color-scheme: dark)");
const MEDIA = "prefers-color-scheme";
/** The frame that shows this page in another page of the same site, null elsewhere. */
const FRAME = frameOf();
/** The rules for dark pages, which the media query of the browser chooses where there is no frame. */
const RULES = FRAME ? darkRules() : [];

/** @type {() => boolean} */
export function isDark() {
  return FRAME ? hasLightText(FRAME) : DARK.matches;
}

/**
 * Call `changed` whenever the page becomes light or dark.
 * @type {(changed: () => void) => void}
 */
export function onScheme(changed) {
  DARK.addEventListener("change", changed);
  if (!FRAME) return;
  let was = isDark();
  const around = new MutationObserver(() => {
    if (isDark() === was) return;
    was = !was;
    apply();
    changed();
  });
  for (const element of [FRAME.ownerDocument.documentElement, FRAME.ownerDocument.body]) around.observe(element, { attributes: true });
  addEventListener("pagehide", () => around.disconnect());
}

/** @type {() => Element | null} */
function frameOf() {
  try {
    return window.frameElement;
  } catch {
    return null; // a page of another site
  }
}

/**
 * Whether texts next to an element are lighter than halfway to white: themes of notebooks have many backgrounds, some transparent.
 * @type {(element: Element) => boolean}
 */
function hasLightText(element) {
  const [red, green, blue] = (getComputedStyle(element).color.match(/[\d.]+/g) ?? []).map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 127;
}

/** @type {() => CSSMediaRule[]} */
function darkRules() {
  const rules = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]);
  return rules.filter((rule) => rule instanceof CSSMediaRule && rule.conditionText.includes(MEDIA)).map((rule) => /** @type {CSSMediaRule} */ (rule));
}

/** @type {() => void} */
function apply() {
  RULES.forEach((rule) => (rule.media.mediaText = isDark() ? "all" : "not all"));
}

apply();
