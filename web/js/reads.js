/**
 * What the page reads by REST now and then: one vehicle, its transitions and warnings, the service itself; and the
 * orders of the demo. Used by drawer.js, app.js and demo.js.
 */
import { DEAD_AFTER_MS } from "./pulse.js";

/** What REST answers, or an error in words. @param {string} path @param {AbortSignal} signal */
async function read_json(path, signal) {
  const answer = await fetch(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(DEAD_AFTER_MS)]) });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.detail ?? body.title ?? `the server answered ${answer.status}`);
  return body;
}

/** @param {string} customer @param {string} vehicle */
const vehicle_path = (customer, vehicle) =>
  `/api/v1/customers/${encodeURIComponent(customer)}/vehicles/${encodeURIComponent(vehicle)}`;

/** One vehicle with every field. @param {string} customer @param {string} vehicle */
export const whole_vehicle = (customer, vehicle) =>
  read_json(vehicle_path(customer, vehicle), new AbortController().signal);

/**
 * The newest transitions of one vehicle, newest first.
 * @param {string} customer @param {string} vehicle @param {number} limit @param {AbortSignal} signal
 * @returns {Promise<import("./state.js").Transition[]>}
 */
export async function last_transitions(customer, vehicle, limit, signal) {
  const page = await read_json(`${vehicle_path(customer, vehicle)}/transitions?limit=${limit}`, signal);
  return page.items;
}

/** Whether the fleet is simulated and takes orders. @returns {Promise<boolean>} */
export async function is_demo() {
  const answer = await fetch("/api/v1/status").catch(() => null);
  return answer !== null && answer.ok && (await answer.json()).demo === true;
}

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
 * What the service's own test heartbeats prove; null when nobody can say.
 * @returns {Promise<{state: string, board: {lag_ms: number}|null}|null>}
 */
export async function read_canary() {
  try {
    const answer = await fetch("/api/v1/status", { signal: AbortSignal.timeout(DEAD_AFTER_MS) });
    return answer.ok ? ((await answer.json()).canary ?? null) : null;
  } catch {
    return null; // the banner says that the server cannot be reached
  }
}

/**
 * What somebody should mend about a vehicle; nothing when it cannot be read, for then the transitions say so.
 * @param {string} customer @param {string} vehicle @param {AbortSignal} signal
 * @returns {Promise<import("./words.js").Warning[]>}
 */
export async function warnings_of(customer, vehicle, signal) {
  try {
    const answer = await fetch("/api/v1/warnings", {
      signal: AbortSignal.any([signal, AbortSignal.timeout(DEAD_AFTER_MS)]),
    });
    if (!answer.ok) return [];
    const { items } = await answer.json();
    return items.filter(
      (/** @type {import("./words.js").Warning} */ each) => each.customer === customer && each.vehicle === vehicle,
    );
  } catch {
    return [];
  }
}
