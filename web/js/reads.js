/**
 * What the page reads by REST now and then: vehicles, transitions, availability, counts of the past, the service
 * itself; and the orders of the demo. Used by the panes, which are loaded after the first paint, and by sign-in.js.
 */
import { DEAD_AFTER_MS } from "./pulse.js";

/** An answer that is none, in words; with the status of HTTP, for 401 and 403 have a way out. */
export class RestError extends Error {
  /** @param {string} text @param {number} status */
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

const NEVER_ABORTED = new AbortController().signal;

/** What REST answers, or an error in words. @param {string} path @param {AbortSignal} [signal] */
async function read_json(path, signal = NEVER_ABORTED) {
  const answer = await fetch(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(DEAD_AFTER_MS)]) });
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  throw new RestError(body.detail ?? body.title ?? `the server answered ${answer.status}`, answer.status);
}

/** A query of what is there. @param {Record<string, string|number|null|undefined>} values */
function query(values) {
  const known = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return `?${new URLSearchParams(known.map(([name, value]) => [name, String(value)]))}`;
}

/** @param {string} customer @param {string} vehicle */
const vehicle_path = (customer, vehicle) =>
  `/api/v1/customers/${encodeURIComponent(customer)}/vehicles/${encodeURIComponent(vehicle)}`;

/** One vehicle with every field. @param {string} customer @param {string} vehicle */
export const whole_vehicle = (customer, vehicle) => read_json(vehicle_path(customer, vehicle));

/** @typedef {{items: import("./state.js").Transition[], next_cursor: string|null}} Transitions  newest first */
/** @typedef {{from?: number, to?: number, limit?: number, cursor?: string|null}} Part  times in epoch ms */

/**
 * A page of transitions of one vehicle.
 * @param {string} customer @param {string} vehicle @param {Part} part @param {AbortSignal} signal
 * @returns {Promise<Transitions>}
 */
export const transitions_of = (customer, vehicle, part, signal) =>
  read_json(`${vehicle_path(customer, vehicle)}/transitions${query(part)}`, signal);

/**
 * The newest transitions of the fleet, or of one customer.
 * @param {string} customer "" is all @param {number} limit @returns {Promise<Transitions>}
 */
export const fleet_transitions = (customer, limit) => read_json(`/api/v1/transitions${query({ customer, limit })}`);

/**
 * What one vehicle said, newest first, as far as it is kept.
 * @param {string} customer @param {string} vehicle @param {Part} part @param {AbortSignal} signal
 * @returns {Promise<{items: any[], kept: string}>}
 */
export const heartbeats_of = (customer, vehicle, part, signal) =>
  read_json(`${vehicle_path(customer, vehicle)}/heartbeats${query(part)}`, signal);

/**
 * How long a vehicle was what, in a period.
 * @param {string} customer @param {string} vehicle @param {number} from @param {number} to @param {AbortSignal} signal
 */
export const availability_of = (customer, vehicle, from, to, signal) =>
  read_json(`${vehicle_path(customer, vehicle)}/availability${query({ from, to })}`, signal);

/**
 * When Rollcall itself could not listen; `to` is null while it still cannot.
 * @param {number} from @param {number} to @param {AbortSignal} [signal]
 * @returns {Promise<{scope: string, from: number, to: number|null, cause: string}[]>}
 */
export async function blind_intervals(from, to, signal) {
  const { items } = await read_json(
    `/api/v1/observation-gaps${query({ from: Math.floor(from), to: Math.ceil(to) })}`,
    signal,
  );
  return items.map((/** @type {any} */ each) => ({
    ...each,
    from: Date.parse(each.from),
    to: each.to === null ? null : Date.parse(each.to),
  }));
}

/**
 * The fleet counted over the past, one entry a bucket that is known.
 * @param {"minute"|"hour"} resolution @param {number} from @param {number} to @param {string} customer "" is all
 * @returns {Promise<any[]>}
 */
export async function stats(resolution, from, to, customer) {
  const values = { resolution, from: Math.floor(from), to: Math.ceil(to), customer };
  return (await read_json(`/api/v1/stats${query(values)}`)).items;
}

/** How the service itself is doing; null when nobody can say. @returns {Promise<any>} */
export const service_status = () => read_json("/api/v1/status").catch(() => null);

/** The libraries that came with this page. @returns {Promise<{package: string, version: string, licence: string}[]>} */
export const libraries = async () => (await read_json("/vendor/VENDOR.json")).files;

/**
 * Gives a simulated vehicle an order.
 * @param {string} customer @param {string} vehicle @param {"silence"|"wake"} order
 * @returns {Promise<string>} why it was not taken; "" when it was
 */
export async function order_demo_vehicle(customer, vehicle, order) {
  const path = `/api/v1/demo/${encodeURIComponent(customer)}/${encodeURIComponent(vehicle)}/${order}`;
  try {
    const answer = await fetch(path, { method: "POST", signal: AbortSignal.timeout(DEAD_AFTER_MS) });
    return answer.ok ? "" : (await answer.json()).detail;
  } catch (error) {
    return `The order did not arrive: ${/** @type {Error} */ (error).message}`;
  }
}

/**
 * What somebody should mend about a vehicle; nothing when it cannot be read, for then the transitions say so.
 * @param {string} customer @param {string} vehicle @param {AbortSignal} signal
 * @returns {Promise<import("./words.js").Warning[]>}
 */
export async function warnings_of(customer, vehicle, signal) {
  const { items } = await read_json("/api/v1/warnings", signal).catch(() => ({ items: [] }));
  return items.filter(
    (/** @type {import("./words.js").Warning} */ each) => each.customer === customer && each.vehicle === vehicle,
  );
}

/**
 * Tells the service to do something.
 * @param {string} path @param {string} method @param {object} [body]
 * @returns {Promise<string>} what went wrong, or ""
 */
async function order(path, method, body) {
  const headers = body === undefined ? undefined : { "content-type": "application/json" };
  const text = body === undefined ? undefined : JSON.stringify(body);
  try {
    const answer = await fetch(path, { method, headers, body: text, signal: AbortSignal.timeout(DEAD_AFTER_MS) });
    if (answer.ok) return "";
    const { detail } = await answer.json().catch(() => ({}));
    const wait_s = Number(answer.headers.get("retry-after") ?? 0);
    return `${detail ?? `The server answered ${answer.status}`}${wait_s > 1 ? ` (${wait_s} s)` : ""}`;
  } catch (error) {
    return `The server does not answer: ${/** @type {Error} */ (error).message}`;
  }
}

/** The newest exports. @returns {Promise<{items: import("./export-order.js").Export[]}>} */
export const list_exports = () => read_json(`/api/v1/exports${query({ limit: 100 })}`);

/**
 * Orders an export.
 * @param {Record<string, any>} body
 * @returns {Promise<{made: import("./export-order.js").Export|null, errors: {field: string, problem: string}[],
 *   problem: string}>}  what is wrong by field, or in a sentence
 */
export async function order_export(body) {
  const headers = { "content-type": "application/json" };
  const request = { method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(DEAD_AFTER_MS) };
  try {
    const answer = await fetch("/api/v1/exports", request);
    const told = await answer.json().catch(() => ({}));
    if (answer.ok) return { made: told, errors: [], problem: "" };
    const errors = told.errors ?? [];
    const problem = errors.length > 0 ? "" : (told.detail ?? `The server answered ${answer.status}`);
    return { made: null, errors, problem };
  } catch (error) {
    return { made: null, errors: [], problem: `The server does not answer: ${/** @type {Error} */ (error).message}` };
  }
}

/** Cancels an export, or removes one that has ended: "" when it worked. @param {string} id */
export const remove_export = (id) => order(`/api/v1/exports/${encodeURIComponent(id)}`, "DELETE");

/** Signs somebody in: "" when it worked. @param {{user: string, password: string}|{key: string}} credentials */
export const sign_in = (credentials) => order("/api/v1/sessions", "POST", credentials);

/** Signs out on this browser: "" when it worked. */
export const sign_out = () => order("/api/v1/sessions/current", "DELETE");

/**
 * Gives whoever is signed in another password: "" when it worked.
 * @param {string} current
 * @param {string} wanted
 */
export const change_password = (current, wanted) =>
  order("/api/v1/sessions/current/password", "POST", { current, new: wanted });

/**
 * Who is asking; null when nobody can say.
 * @returns {Promise<{kind: string, name: string, customer: string|null}|null>}
 */
export const who_am_i = () => read_json("/api/v1/sessions/current").catch(() => null);
