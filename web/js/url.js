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
 * @property {string} view       one of VIEWS; "" is the list, beside the map where there is room
 * @property {string} ll         centre of the map as lat,lon; "" shows all vehicles
 * @property {string} z          its zoom
 */

export const SORTS = ["vehicle", "-vehicle", "last_seen", "-last_seen", "status_since", "-status_since"];
const KNOWN = ["status", "customer", "q", "tag", "sort", "v", "view", "ll", "z"];
/** The screens beside the list. */
export const VIEWS = ["map", "alerts", "trends", "exports", "about"];
/** What the values of the map have to look like. @type {Record<string, RegExp>} */
const SHAPES = { ll: /^-?\d{1,2}(\.\d+)?,-?\d{1,3}(\.\d+)?$/, z: /^\d{1,2}(\.\d+)?$/ };
/** The longest text the server would accept as an identifier is far below this; more is a mistake. */
const TEXT_MAX = 200;

/** @returns {Filters} */
export const no_filters = () => ({
  status: [],
  customer: "",
  q: "",
  tag: "",
  sort: "vehicle",
  v: "",
  view: "",
  ll: "",
  z: "",
});

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
    else if (name === "view" && !VIEWS.includes(value)) ignored.push(`view=${value}`);
    else if (name === "v" && !value.includes("/"))
      ignored.push(`v=${value}`); // customer/vehicle
    else if (SHAPES[name]?.test(value) === false) ignored.push(`${name}=${value}`);
    else filters[/** @type {Exclude<keyof Filters, "status">} */ (name)] = value;
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
  for (const name of /** @type {const} */ (["v", "view", "ll", "z"])) {
    if (filters[name] !== "") parts.set(name, filters[name]);
  }
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

/** Where one signs in, and what is shown again after that. @param {{pathname: string, search: string}} here */
export const sign_in_address = ({ pathname, search }) => `/login?next=${encodeURIComponent(pathname + search)}`;

/**
 * Where to go on after signing in: a path of this very service, whatever the address says.
 * @param {Pick<Location, "origin"|"search">} location
 */
export function address_after_sign_in({ origin, search }) {
  const next = new URLSearchParams(search).get("next") ?? "/";
  if (!next.startsWith("/")) return "/";
  const url = new URL(next, origin);
  // "/.//host" is a path of ours until its first part is taken out; what is left would be another host.
  return url.origin === origin && !url.pathname.startsWith("//") ? url.pathname + url.search : "/";
}
