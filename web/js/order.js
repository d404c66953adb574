/**
 * Which vehicles the table shows, and in what order; and how many differ between two fleets. Pure.
 * Fed with the fleet (fleet.js) and the filters (url.js); feeds table.js, counts.js and state.js.
 * 100,000 vehicles take 5 to 25 ms, so this runs on the main thread, at most once a second while only the fleet
 * changes.
 */
import { CHANGED, STATUSES } from "./fleet.js";

/**
 * @typedef {import("./fleet.js").Fleet} Fleet
 * @typedef {import("./url.js").Filters} Filters
 * @typedef {{order: Uint32Array, tally: number[]}} Selection
 *   order: slots in sight; tally: vehicles per status under customer and text alone, so that the buttons say what a
 * click would show
 */

/** @param {Fleet} fleet @param {Filters} filters @returns {Selection} */
export function select(fleet, filters) {
  const { alive, status, customer } = fleet;
  const wanted = STATUSES.map((name) => filters.status.length === 0 || filters.status.includes(name));
  const text = filters.q.trim().toLowerCase();
  const texts = text === "" ? [] : fleet.search_texts();
  const whose = filters.customer === "" ? -1 : (fleet.customer_numbers.get(filters.customer) ?? Infinity);
  const tally = [0, 0, 0, 0];
  const order = new Uint32Array(fleet.size);
  let found = 0;
  for (const slot of fleet.named_order()) {
    if (alive[slot] === 0) continue;
    if (whose >= 0 && customer[slot] !== whose) continue;
    if (text !== "" && !texts[slot].includes(text)) continue;
    if (filters.tag !== "" && !fleet.tags_of(slot).includes(filters.tag)) continue;
    tally[status[slot]] += 1;
    if (wanted[status[slot]]) order[found++] = slot;
  }
  return { order: sorted(order.subarray(0, found), fleet, filters.sort), tally };
}

/**
 * The slots come in name order and the sort is stable, so equal times stay in name order.
 * @param {Uint32Array} slots
 * @param {Fleet} fleet
 * @param {string} sort
 */
function sorted(slots, fleet, sort) {
  const descending = sort.startsWith("-");
  const name = descending ? sort.slice(1) : sort;
  if (name === "vehicle") return descending ? slots.reverse() : slots;
  const times = name === "status_since" ? fleet.status_since : fleet.last_seen;
  // Vehicles without that time come last whichever way round: "never" is not "longest ago".
  const missing = descending ? -Infinity : Infinity;
  const keys = times.map((time) => (Number.isNaN(time) ? missing : time));
  return slots.sort(descending ? (a, b) => compare(keys[b], keys[a]) : (a, b) => compare(keys[a], keys[b]));
}

/** Not a subtraction: Infinity minus itself is not a number. @param {number} a @param {number} b */
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/**
 * Whether these changes can alter the selection at all.
 * @param {number} changed bits of CHANGED
 * @param {Filters} filters
 */
export function affects_order(changed, filters) {
  let matter = CHANGED.added | CHANGED.removed | CHANGED.status;
  if (filters.q !== "" || filters.tag !== "") matter |= CHANGED.text;
  if (filters.sort.endsWith("last_seen")) matter |= CHANGED.seen;
  return (changed & matter) !== 0;
}

/** @param {Uint32Array} a @param {Uint32Array} b */
export function same_order(a, b) {
  return a.length === b.length && a.every((slot, at) => slot === b[at]);
}

/** Vehicles that changed status (or passed through one), came or went. @param {Fleet} before @param {Fleet} after */
export function differences(before, after) {
  const known = new Map(before.slots().map((slot) => [before.key_of(slot), slot]));
  let same = 0;
  let changed = 0;
  for (const slot of after.slots()) {
    const old = known.get(after.key_of(slot));
    if (old === undefined) continue;
    const equal = before.status[old] === after.status[slot] && before.seq[old] === after.seq[slot];
    if (equal) same += 1;
    else changed += 1;
  }
  return changed + (before.size - same - changed) + (after.size - same - changed);
}
