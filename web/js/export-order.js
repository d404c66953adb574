/**
 * What can be ordered as a file and how an order is told to the service; and how an export stands, in words. Pure.
 * Fed by exports-form.js with what was chosen and by exports.js with what REST tells; the service checks each order
 * again, and the browser tests hold the columns here against those of the service.
 */
import { date_time, duration, whole } from "./words.js";

/**
 * @typedef {object} Export  as REST tells it
 * @property {string} id
 * @property {"NOT_STARTED"|"STARTED"|"FINISHED"|"FAILED"|"CANCELLED"|"EXPIRED"} state
 * @property {number} progress    0 to 1
 * @property {number} rows
 * @property {number} bytes
 * @property {number} attempts
 * @property {string|null} error
 * @property {string|null} exportUri
 * @property {string|null} expires_at
 * @property {string} kind
 * @property {string} format
 * @property {string|null} customer
 * @property {string[]} vehicles
 * @property {string|null} from
 * @property {string|null} to
 * @property {string} made_at
 *
 * @typedef {object} Chosen  what the form holds
 * @property {string} kind
 * @property {string} format
 * @property {string} customer    "" is all
 * @property {string} vehicles    names, one a line
 * @property {string} period      of PERIODS, or "custom"
 * @property {string} from        local time, as the field writes it; for "custom"
 * @property {string} to
 * @property {string[]} columns
 * @property {string} readings    names of readings, one a line
 */

const POSITION = ["lat", "lon", "position_at", "speed_kmh", "heading_deg"];
/**
 * The columns of each kind, in the order of the file.
 * @type {Record<string, {label: string, columns: string[], timeless?: boolean, readings?: boolean}>}
 */
export const KINDS = {
  transitions: {
    label: "Transitions: each change of status, with why",
    columns: [
      ...["customer", "vehicle", "at", "seq", "from", "to", "cause", "decided_at", "last_seen", "deadline"],
      ...["offline_after_ms", "policy_source", ...POSITION, "usual_gap_ms", "session", "clock_skew_ms"],
    ],
  },
  availability: {
    label: "Availability: a row a vehicle for the period",
    columns: [
      ...["customer", "vehicle", "from", "to", "online_ms", "offline_ms", "unobserved_ms", "never_seen_ms"],
      ...["availability", "outages", "longest_outage_ms"],
    ],
  },
  heartbeats: {
    label: "Heartbeats: what vehicles said, as far as it is kept",
    columns: [
      ...["customer", "vehicle", "at", "arrived", "backlog", "seq", "lat", "lon", "speed_kmh", "heading_deg"],
      ...["battery_pct", "odometer_km", "ignition"],
    ],
    readings: true,
  },
  vehicles: {
    label: "Vehicles: as they are when it is written",
    columns: [
      ...["customer", "vehicle", "name", "registration", "vin", "tags", "status", "status_since", "seq", "last_seen"],
      ...[...POSITION, "battery_pct", "odometer_km", "ignition", "clock_skew_ms", "offline_after_ms", "policy_source"],
    ],
    timeless: true,
    readings: true,
  },
};

const DAY_MS = 86_400_000;
/** @type {Record<string, number>} */
export const PERIODS = { "24h": DAY_MS, "7d": 7 * DAY_MS, "30d": 30 * DAY_MS };

/** @param {string} text names, one a line or with commas between @returns {string[]} */
export const names_of = (text) =>
  [...new Set(text.split(/[\n,]/).map((name) => name.trim()))].filter((name) => name !== "");

/**
 * The order as the service takes it, and what is missing in it by field.
 * @param {Chosen} chosen @param {number} now epoch ms of the service
 * @returns {{order: Record<string, any>, errors: {field: string, problem: string}[]}}
 */
export function order_of(chosen, now) {
  const { kind, format, customer, period } = chosen;
  const { columns, timeless, readings } = KINDS[kind];
  const errors = [];
  /** @type {Record<string, any>} */
  const order = { kind, format };
  const vehicles = names_of(chosen.vehicles);
  if (customer !== "") order.customer = customer;
  if (vehicles.length > 0) order.vehicles = vehicles;
  if (vehicles.length > 0 && customer === "")
    errors.push({ field: "customer", problem: "name the vehicles' customer" });
  if (!timeless) {
    const [from, to] = period === "custom" ? [time_of(chosen.from), time_of(chosen.to)] : [now - PERIODS[period], now];
    if (Number.isNaN(from)) errors.push({ field: "from", problem: "say when the period begins" });
    if (Number.isNaN(to)) errors.push({ field: "to", problem: "say when the period ends" });
    if (from >= to) errors.push({ field: "to", problem: "the period must end after it begins" });
    Object.assign(order, { from: Math.floor(from), to: Math.floor(to) });
  }
  const more = readings ? names_of(chosen.readings).map((name) => `metrics.${name.replace(/^metrics\./, "")}`) : [];
  const wanted = [...columns.filter((name) => chosen.columns.includes(name)), ...more];
  if (wanted.length === 0) errors.push({ field: "columns", problem: "choose one at least" });
  if (wanted.length !== columns.length || more.length > 0) order.columns = wanted;
  return { order, errors };
}

/** @param {string} local as a field for date and time writes it */
const time_of = (local) => (local === "" ? NaN : new Date(local).getTime());

/** It waits or is worked on. @param {Export} each */
export const is_under_way = ({ state }) => state === "NOT_STARTED" || state === "STARTED";

/** "Transitions of acme, TRK-1 and 2 others" @param {Export} each */
export function title_of({ kind, customer, vehicles }) {
  const name = kind.charAt(0).toUpperCase() + kind.slice(1);
  const others =
    vehicles.length > 1 ? ` and ${whole(vehicles.length - 1)} ${vehicles.length === 2 ? "other" : "others"}` : "";
  return `${name} of ${customer ?? "all customers"}${vehicles.length > 0 ? `, ${vehicles[0]}${others}` : ""}`;
}

/** The period and the format. @param {Export} each */
export function extent_of({ from, to, format }) {
  const period = from && to ? `${date_time(Date.parse(from))} – ${date_time(Date.parse(to))}, ` : "";
  return `${period}${format}`;
}

/** How it stands. @param {Export} each @param {number} now epoch ms of the service */
export function state_of({ state, progress, rows, bytes, attempts, error, expires_at }, now) {
  const size = `${whole(rows)} ${rows === 1 ? "row" : "rows"}, ${bytes_words(bytes)}`;
  switch (state) {
    case "NOT_STARTED":
      return attempts === 0 ? "Waiting" : `Failed ${times(attempts)}, tried again soon: ${error}`;
    case "STARTED":
      return `Writing, ${Math.floor(100 * progress)} %, ${whole(rows)} rows`;
    case "FINISHED":
      return `Ready: ${size}${expires_at ? `; kept for ${duration(Math.max(0, Date.parse(expires_at) - now))}` : ""}`;
    case "FAILED":
      return `Failed for good: ${error}`;
    case "CANCELLED":
      return "Cancelled";
    default:
      return "Its file is gone";
  }
}

/** @param {number} count */
const times = (count) => (count === 1 ? "once" : `${whole(count)} times`);

const UNITS = ["bytes", "KB", "MB", "GB", "TB"];

/** "4.9 MB" @param {number} bytes */
export function bytes_words(bytes) {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${power === 0 ? whole(bytes) : (bytes / 1_000 ** power).toFixed(1)} ${UNITS[power]}`;
}
