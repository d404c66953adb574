/**
 * The filters of the page and their form in the address, so that a view can be bookmarked and sent to a colleague.
 * Pure.
 * Fed with location.search by app.js; read by order.js and the views.
 */
import { STATUSES } from "./fleet.js";

/**
 * @typedef {object} Filters
 * @property {string[]} status   statuses in sight; empty means all
 * @property {string} customer   "" means all
 * @property {string} q          text to find in vehicle, name, registration, vin
 * @property {string} tag        a tag the vehicle has; "" means any
 * @property {string} sort       one of SORTS
 * @property {string} v          the open vehicle as customer/vehicle; "" means none
 */

export const SORTS = ["vehicle", "-vehicle", "last_seen", "-last_seen", "status_since", "-status_since"];
const KNOWN = ["status", "customer", "q", "tag", "sort", "v"];
/** The longest text the server would accept as an identifier is far below this; more is a mistake. */
const TEXT_MAX = 200;

/** @returns {Filters} */
export const no_filters = () => ({ status: [], customer: "", q: "", tag: "", sort: "vehicle", v: "" });

/**
 * Reads an address; what it cannot use is left out and named.
 * @param {string} search
 * @returns {{filters: Filters, ignored: string[]}}
 */
export function parse(search) {
  const filters = no_filters();
  /** @type {string[]} */
  const ignored = [];
  for (const [name, value] of new URLSearchParams(search)) {
    if (!KNOWN.includes(name) || value.length > TEXT_MAX) ignored.push(`${name}=${value.slice(0, 40)}`);
    else if (name === "status") filters.status = known_statuses(value, ignored);
    else if (name === "sort" && !SORTS.includes(value)) ignored.push(`sort=${value}`);
    else if (name === "v" && !value.includes("/"))
      ignored.push(`v=${value}`); // customer/vehicle
    else filters[/** @type {"customer"|"q"|"tag"|"sort"|"v"} */ (name)] = value;
  }
  return { filters, ignored };
}

/** @param {string} value @param {string[]} ignored */
function known_statuses(value, ignored) {
  const words = value.split(",").filter((word) => word !== "");
  ignored.push(...words.filter((word) => !STATUSES.some((status) => status === word)).map((word) => `status=${word}`));
  return STATUSES.filter((status) => words.includes(status));
}

/** The shortest address of these filters; "" when they are the default. @param {Filters} filters */
export function format(filters) {
  const parts = new URLSearchParams();
  if (filters.status.length > 0) parts.set("status", filters.status.join(","));
  if (filters.customer !== "") parts.set("customer", filters.customer);
  if (filters.q !== "") parts.set("q", filters.q);
  if (filters.tag !== "") parts.set("tag", filters.tag);
  if (filters.sort !== "vehicle") parts.set("sort", filters.sort);
  if (filters.v !== "") parts.set("v", filters.v);
  // Commas and slashes are allowed in a query; left bare they keep the address readable.
  const text = parts.toString().replaceAll("%2C", ",").replaceAll("%2F", "/");
  return text === "" ? "" : `?${text}`;
}

/** Whether anything hides a vehicle. @param {Filters} filters */
export const narrowed = (filters) => filters.status.length > 0 || of_a_part(filters);

/** Whether anything but the status hides a vehicle. @param {Filters} filters */
export const of_a_part = (filters) => filters.customer !== "" || filters.q.trim() !== "" || filters.tag !== "";

/**
 * The statuses after a click on one of the buttons; all four chosen is the same as none.
 * @param {string[]} chosen
 * @param {string} status
 */
export function toggled(chosen, status) {
  const next = STATUSES.filter((each) => (each === status) !== chosen.includes(each));
  return next.length === STATUSES.length ? [] : next;
}
