// @ts-check
// The colours of roles, in groups: people distinguish few colours.

import { element } from "./element.js";
import { ROLES, theme } from "./theme.js";

/**
 * The group of each role, whose colour the style sheet has.
 * @type {Record<string, RoleGroup>}
 */
const GROUPS = {
  kernel: "kernel",
  "recurrent kernel": "kernel",
  embedding: "embedding",
  bias: "bias",
  offset: "bias",
  scale: "scale",
  mean: "statistic",
  variance: "statistic",
  count: "statistic",
};

/**
 * The CSS colour of a role.
 * @type {(role: string) => string}
 */
export function colourOfRole(role) {
  return theme().roles[GROUPS[role] ?? "other"];
}

/**
 * The red, green and blue of a role.
 * @type {(role: string) => number[]}
 */
export function bytesOfRole(role) {
  return theme().roleBytes[GROUPS[role] ?? "other"];
}

/**
 * The colours of the roles that an index has.
 * @type {(index: Index) => HTMLElement}
 */
export function legendOfRoles({ columns }) {
  const groups = new Set(columns.role.map((role) => GROUPS[role] ?? "other"));
  const keys = ROLES.filter((group) => groups.has(group));
  const items = keys.map((group) => element("li", {}, element("i", { class: `role-${group}`, "aria-hidden": "true" }), group));
  return element("ul", { class: "roles", "aria-label": "Key of colours" }, ...items);
}
