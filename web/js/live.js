/**
 * The live connection: the socket, kept alive, and the snapshot it goes on from. With reads.js the only file that talks
 * to the server.
 * Feeds app.js with frames; is told by app.js what has been applied. Knows nothing of vehicles.
 */
import { announced_bytes, decode } from "./codec.js";
import { EAGER_FOR_MS, HEALTHY_AFTER_MS, LAST_ATTEMPT, pulse, retry_delay_ms } from "./pulse.js";

const LIVE_PATH = "/api/v1/live";
const SNAPSHOT_PATH = "/api/v1/live/snapshot";
const PROTOCOL = "rollcall.v1.bin";
const CHECK_EVERY_MS = 1_000;
/** A snapshot costs both sides something, so it is not fetched more often. */
const SNAPSHOT_EVERY_MS = 1_000;

/**
 * @typedef {object} Link  the state of the connection, for the banner
 * @property {"connecting"|"open"|"waiting"} phase   open: at least one frame came
 * @property {number} heard_at        monotonic ms of the last sign of life
 * @property {number|null} lost_at    when the connection was lost; null while there is one
 * @property {number|null} retry_at   when the next attempt starts, while waiting
 * @property {string} bye             the reason the server gave for closing
 * @property {number} refused         401 or 403: who looks at the page may not see the fleet; 0: nobody said so
 *
 * @typedef {object} Handlers
 * @property {(frame: any) => {ack: number|null, resync: string|null}} on_frame
 * @property {(received: number, total: number) => void} on_progress   of a snapshot, in bytes; total 0: unknown
 * @property {() => object|null} resume_point   first message on a new socket; null: a snapshot is needed first
 * @property {() => void} on_lost
 * @property {() => void} on_change             the Link changed
 *
 * @typedef {object} Outside  what a test replaces
 * @property {(url: string, protocol: string) => WebSocket} open_socket
 * @property {(signal: AbortSignal, on_progress: Handlers["on_progress"]) => Promise<ArrayBuffer>} fetch_snapshot
 * @property {() => Promise<number>} ask_door   what HTTP answers at the socket's address, which a socket does not tell
 * @property {() => number} now
 * @property {() => number} random
 * @property {(run: () => void, ms: number) => any} set_timer
 * @property {(timer: any) => void} clear_timer
 */

/** @type {Outside} */
const BROWSER = {
  open_socket: (url, protocol) => new WebSocket(url, protocol),
  fetch_snapshot,
  ask_door: async () => (await fetch(LIVE_PATH, { cache: "no-store" })).status,
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
    /** The fetch of a snapshot for this socket, begun or planned. @type {AbortController|null} */
    this.fetching = null;
    this.fetched_at = -Infinity;
    /** The socket was told where to go on from. */
    this.resumed = false;
    /** @type {Link} */
    this.link = { phase: "connecting", heard_at: outside.now(), lost_at: null, retry_at: null, bye: "", refused: 0 };
  }

  connect() {
    const { link, outside } = this;
    outside.clear_timer(this.timer);
    Object.assign(link, { phase: "connecting", heard_at: outside.now(), retry_at: null });
    const socket = (this.socket = outside.open_socket(this.url, PROTOCOL));
    socket.binaryType = "arraybuffer";
    this.resumed = false;
    socket.onopen = () => this.#resume(socket);
    socket.onmessage = (event) => this.#received(socket, event.data);
    socket.onclose = () => this.#lost(socket);
    this.timer = outside.set_timer(() => this.#check(), CHECK_EVERY_MS);
    if (this.handlers.resume_point() === null) this.#fetch_soon(socket); // beside the handshake, not after it
    this.handlers.on_change();
  }

  /** The network is back, the page is looked at again, or the user asks: do not wait any longer. */
  poke() {
    const silent_ms = this.outside.now() - this.link.heard_at;
    if (this.link.phase === "waiting") this.connect();
    else if (this.link.phase === "open" && pulse(silent_ms) !== "well") this.#restart();
  }

  /** @param {WebSocket} socket */
  #resume(socket) {
    const resume = this.handlers.resume_point();
    if (resume === null) return;
    this.resumed = true;
    socket.send(JSON.stringify(resume));
  }

  /** @param {WebSocket} socket @param {string|ArrayBuffer} data */
  #received(socket, data) {
    if (socket !== this.socket) return; // a late frame of a socket we have given up
    const { link, outside } = this;
    link.heard_at = outside.now();
    if (link.phase !== "open") {
      Object.assign(link, { phase: "open", lost_at: null, bye: "", refused: 0 });
      this.opened_at = outside.now();
      this.handlers.on_change();
    }
    const frame = this.#read(data);
    if (frame === null) return;
    if (frame.type === "bye") link.bye = String(frame.reason ?? "");
    this.#apply(socket, frame);
    // One that was sent before our resume was heard is answered by that resume.
    if (frame.type === "resync" && (frame.refused || !this.resumed)) this.#fetch_soon(socket);
  }

  /** @param {WebSocket} socket @param {any} frame */
  #apply(socket, frame) {
    const { ack, resync } = this.handlers.on_frame(frame);
    if (ack !== null && frame.type !== "snapshot") socket.send(JSON.stringify({ type: "ack", version: ack }));
    if (resync !== null) this.#restart(resync);
  }

  /** @param {string|ArrayBuffer} data */
  #read(data) {
    try {
      return typeof data === "string" ? JSON.parse(data) : decode(data);
    } catch (error) {
      // Rows that cannot be read are not left out: the page would show a wrong fleet.
      if (typeof data !== "string") {
        this.handlers.on_frame({ type: "resync", refused: true });
        this.#restart(`${error}`);
      }
      return null;
    }
  }

  /** @param {WebSocket} socket */
  #fetch_soon(socket) {
    if (this.fetching !== null) return;
    const fetching = (this.fetching = new AbortController());
    const wait_ms = this.fetched_at + SNAPSHOT_EVERY_MS - this.outside.now();
    if (wait_ms <= 0) this.#fetch(socket, fetching);
    else this.outside.set_timer(() => this.#fetch(socket, fetching), wait_ms);
  }

  /** @param {WebSocket} socket @param {AbortController} fetching */
  async #fetch(socket, fetching) {
    if (this.fetching !== fetching) return; // its socket was lost meanwhile
    const { signal } = fetching;
    this.fetched_at = this.outside.now();
    try {
      const data = await this.outside.fetch_snapshot(signal, (received, total) => {
        if (signal.aborted) return;
        this.link.heard_at = this.outside.now();
        this.handlers.on_progress(received, total);
      });
      if (signal.aborted) return;
      this.fetching = null;
      const frame = this.#read(data);
      if (frame !== null) this.#apply(socket, frame);
      if (socket === this.socket && socket.readyState === 1) this.#resume(socket);
    } catch (/** @type {any} */ error) {
      if (signal.aborted) return;
      if (is_refusal(error.status)) this.link.refused = error.status;
      this.#restart(`no snapshot: ${error}`);
    }
  }

  /** Runs once a second while there is a socket. */
  #check() {
    const silent_ms = this.outside.now() - this.link.heard_at;
    if (pulse(silent_ms) === "dead") return this.#restart();
    this.timer = this.outside.set_timer(() => this.#check(), CHECK_EVERY_MS);
  }

  /** Does not wait for the close handshake, which a dead peer never answers. @param {string} [cause] */
  #restart(cause) {
    const socket = this.socket;
    if (socket === null) return;
    if (cause) console.warn(`rollcall: starting over: ${cause}`);
    this.#lost(socket);
    socket.close();
  }

  /** @param {WebSocket} socket */
  #lost(socket) {
    if (socket !== this.socket) return;
    const { link, outside } = this;
    const now = outside.now();
    this.socket = null;
    this.fetching?.abort();
    this.fetching = null;
    outside.clear_timer(this.timer);
    if (now - this.opened_at >= HEALTHY_AFTER_MS) this.attempt = 0;
    this.opened_at = Infinity;
    // Asking more often does not give a right; signing in does, and then the page is loaded anew.
    const attempt = link.refused ? LAST_ATTEMPT : this.attempt++;
    const eager = link.phase === "connecting" && !link.refused && now - (link.lost_at ?? now) < EAGER_FOR_MS;
    const delay = retry_delay_ms(attempt, outside.random(), eager);
    if (link.phase === "connecting" && !link.refused) this.#ask_why();
    Object.assign(link, { phase: "waiting", lost_at: link.lost_at ?? now, retry_at: now + delay });
    this.timer = outside.set_timer(() => this.connect(), delay);
    this.handlers.on_lost();
    this.handlers.on_change();
  }

  /** A socket that never opened may have been refused, and only a plain request is told so. */
  async #ask_why() {
    const status = await this.outside.ask_door().catch(() => 0);
    // The answer may be slower than the next attempt; only a socket that opened meanwhile knows better.
    if (!is_refusal(status) || this.link.phase === "open") return;
    this.link.refused = status;
    this.handlers.on_change();
  }
}

/** The fleet is not for whoever looks at this page. @param {number} status of HTTP */
const is_refusal = (status) => status === 401 || status === 403;

/** The address of the live socket beside this page. @param {Location} location */
export function live_url(location) {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${LIVE_PATH}`;
}

/** @type {Outside["fetch_snapshot"]} */
async function fetch_snapshot(signal, on_progress) {
  const answer = await fetch(SNAPSHOT_PATH, { signal, cache: "no-store" });
  if (!answer.ok || answer.body === null) {
    throw Object.assign(new Error(`the server answered ${answer.status}`), { status: answer.status });
  }
  const chunks = [];
  let [received, total] = [0, 0];
  const reader = answer.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    total ||= announced_bytes(value); // the answer's own length is that of the compressed bytes, if it has any
    chunks.push(value);
    received += value.length;
    on_progress(received, total);
  }
  return new Blob(chunks).arrayBuffer();
}
