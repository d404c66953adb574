/**
 * The only file that talks to the server: the live socket, kept alive, and the few REST reads of the page.
 * Feeds app.js with frames; is told by app.js what has been applied. Knows nothing of vehicles.
 */
import { DEAD_AFTER_MS, HEALTHY_AFTER_MS, pulse, retry_delay_ms } from "./pulse.js";

const LIVE_PATH = "/api/v1/live";
const PROTOCOL = "rollcall.v1.json";
const CHECK_EVERY_MS = 1_000;

/**
 * @typedef {object} Link  the state of the connection, for the banner
 * @property {"connecting"|"open"|"waiting"} phase   open: at least one frame came
 * @property {number} heard_at        monotonic ms of the last sign of life
 * @property {number|null} lost_at    when the connection was lost; null while there is one
 * @property {number|null} retry_at   when the next attempt starts, while waiting
 * @property {string} bye             the reason the server gave for closing
 *
 * @typedef {object} Handlers
 * @property {(frame: any) => {ack: number|null, resync: string|null}} on_frame
 * @property {() => object|null} resume_point   first message on a new socket; null asks for everything
 * @property {() => void} on_lost
 * @property {() => void} on_change             the Link changed
 *
 * @typedef {object} Outside  what a test replaces
 * @property {(url: string, protocol: string) => WebSocket} open_socket
 * @property {() => number} now
 * @property {() => number} random
 * @property {(run: () => void, ms: number) => any} set_timer
 * @property {(timer: any) => void} clear_timer
 */

/** @type {Outside} */
const BROWSER = {
  open_socket: (url, protocol) => new WebSocket(url, protocol),
  now: () => performance.now(),
  random: Math.random,
  set_timer: (run, ms) => setTimeout(run, ms),
  clear_timer: (timer) => clearTimeout(timer),
};

export class LiveLink {
  /** @param {string} url @param {Handlers} handlers @param {Outside} [outside] */
  constructor(url, handlers, outside = BROWSER) {
    this.url = url;
    this.handlers = handlers;
    this.outside = outside;
    /** @type {WebSocket|null} */ this.socket = null;
    this.attempt = 0;
    this.opened_at = Infinity;
    /** @type {any} */ this.timer = null;
    /** @type {Link} */
    this.link = { phase: "connecting", heard_at: outside.now(), lost_at: null, retry_at: null, bye: "" };
  }

  connect() {
    const { link, outside } = this;
    outside.clear_timer(this.timer);
    Object.assign(link, { phase: "connecting", heard_at: outside.now(), retry_at: null });
    const socket = (this.socket = outside.open_socket(this.url, PROTOCOL));
    socket.onopen = () => {
      const resume = this.handlers.resume_point();
      if (resume) socket.send(JSON.stringify(resume));
    };
    socket.onmessage = (event) => this.#received(socket, event.data);
    socket.onclose = () => this.#lost(socket);
    this.timer = outside.set_timer(() => this.#check(), CHECK_EVERY_MS);
    this.handlers.on_change();
  }

  /** The network is back, the page is looked at again, or the user asks: do not wait any longer. */
  poke() {
    const silent_ms = this.outside.now() - this.link.heard_at;
    if (this.link.phase === "waiting") this.connect();
    else if (this.link.phase === "open" && pulse(silent_ms) !== "well") this.#restart();
  }

  /** @param {WebSocket} socket @param {string} data */
  #received(socket, data) {
    if (socket !== this.socket) return; // a late frame of a socket we have given up
    const { link, outside } = this;
    link.heard_at = outside.now();
    if (link.phase !== "open") {
      Object.assign(link, { phase: "open", lost_at: null, bye: "" });
      this.opened_at = outside.now();
      this.handlers.on_change();
    }
    const frame = read(data);
    if (frame === null) return;
    if (frame.type === "bye") link.bye = String(frame.reason ?? "");
    const { ack, resync } = this.handlers.on_frame(frame);
    if (ack !== null) socket.send(JSON.stringify({ type: "ack", version: ack }));
    if (resync !== null) {
      console.warn(`rollcall: starting over: ${resync}`);
      this.#restart();
    }
  }

  /** Runs once a second while there is a socket. */
  #check() {
    const silent_ms = this.outside.now() - this.link.heard_at;
    if (pulse(silent_ms) === "dead") return this.#restart();
    this.timer = this.outside.set_timer(() => this.#check(), CHECK_EVERY_MS);
  }

  /** Does not wait for the close handshake, which a dead peer never answers. */
  #restart() {
    const socket = this.socket;
    if (socket === null) return;
    this.#lost(socket);
    socket.close();
  }

  /** @param {WebSocket} socket */
  #lost(socket) {
    if (socket !== this.socket) return;
    const { link, outside } = this;
    const now = outside.now();
    this.socket = null;
    outside.clear_timer(this.timer);
    if (now - this.opened_at >= HEALTHY_AFTER_MS) this.attempt = 0;
    this.opened_at = Infinity;
    const delay = retry_delay_ms(this.attempt++, outside.random());
    Object.assign(link, { phase: "waiting", lost_at: link.lost_at ?? now, retry_at: now + delay });
    this.timer = outside.set_timer(() => this.connect(), delay);
    this.handlers.on_lost();
    this.handlers.on_change();
  }
}

/** @param {string} data */
function read(data) {
  try {
    return JSON.parse(data);
  } catch {
    console.warn("rollcall: a frame that is not JSON was left out");
    return null;
  }
}

/** The address of the live socket beside this page. @param {Location} location */
export function live_url(location) {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${LIVE_PATH}`;
}

/**
 * The newest transitions of one vehicle, newest first.
 * @param {string} customer @param {string} vehicle @param {number} limit @param {AbortSignal} signal
 * @returns {Promise<import("./state.js").Transition[]>}
 */
export async function last_transitions(customer, vehicle, limit, signal) {
  const path = `/api/v1/customers/${encodeURIComponent(customer)}/vehicles/${encodeURIComponent(vehicle)}/transitions`;
  const answer = await fetch(`${path}?limit=${limit}`, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(DEAD_AFTER_MS)]),
  });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.detail ?? body.title ?? `the server answered ${answer.status}`);
  return body.items;
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
