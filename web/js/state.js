/**
 * What this page knows: applies the frames of the live socket, one by one, and keeps where to resume.
 * Fed by live.js through app.js; read by the views. Pure: time comes in as an argument, answers go out as a return
 * value.
 */
import { CHANGED, Fleet, STATUSES, millis } from "./fleet.js";

/**
 * @typedef {import("./fleet.js").VehicleRow} VehicleRow
 * @typedef {{customer: string, vehicle: string, seq: number, from: string, to: string, at: string, cause: string,
 *   decided_at?: string, evidence?: any}} Transition
 * @typedef {{type: "hello", epoch: string, version: number, tick_ms?: number}} Hello
 * @typedef {{type: "snapshot", version: number, part: number, parts: number, vehicles: VehicleRow[]}} Snapshot
 * @typedef {{type: "delta", from: number, version: number, changed?: VehicleRow[], removed?: VehicleRow[]}} Delta
 * @typedef {{type: "counts", online: number, offline: number, unobserved: number, never_seen: number}} Counts
 * @typedef {{type: "observation", listening: boolean, since: string, scope?: string, cause?: string}} Observation
 * @typedef {{type: "gap", dropped: number}} Gap
 * @typedef {{type: "bye", reason: string}} Bye
 * @typedef {(Hello | Snapshot | Delta | Counts | Observation | Gap | Bye | ({type: "transition"} & Transition))
 *   & {server_time?: string}} Frame
 *
 * @typedef {object} Outcome  what the caller has to do after a frame
 * @property {number|null} ack        the version to acknowledge: we hold exactly this now
 * @property {string|null} resync     why our copy can no longer be trusted: connect anew and ask for everything
 * @property {number} changed         bits of CHANGED
 * @property {boolean} replaced       the fleet is another object now: slots mean nothing any more
 * @property {Transition[]} transitions
 * @property {boolean} gap            transitions were dropped: read them by REST
 */

/** @returns {Outcome} */
const nothing = () => ({ ack: null, resync: null, changed: 0, replaced: false, transitions: [], gap: false });

export class LiveState {
  constructor() {
    this.fleet = new Fleet();
    /** True once a whole snapshot has been applied. */
    this.loaded = false;
    this.epoch = "";
    /** The version our fleet equals; null when it equals none. @type {number|null} */
    this.version = null;
    /**
     * A snapshot on its way.
     * @type {{version: number, parts: number, part: number, received: number, fleet: Fleet}|null}
     */
    this.incoming = null;
    /** @type {Observation} */
    this.observation = { type: "observation", listening: true, since: "" };
    /**
     * The server's own counts of the whole fleet, in the order of STATUSES; null before the first.
     * @type {number[]|null}
     */
    this.server_tally = null;
    /** Server time seen at a moment of our monotonic clock. @type {{server: number, local: number}|null} */
    this.clock = null;
    /** Set while the socket was lost and its successor has not caught up. */
    this.away = false;
    /** Changes heard of since then. */
    this.missed = 0;
    /**
     * The last catching-up: how many vehicles changed status, came or went meanwhile.
     * @type {{changes: number, at: number}|null}
     */
    this.caught_up = null;
  }

  /** What to ask for on a new socket; null asks for everything. */
  resume_point() {
    return this.version === null ? null : { type: "resume", epoch: this.epoch, version: this.version };
  }

  /** The socket is gone: the fleet stays as it was, half a snapshot is worth nothing. */
  lost() {
    this.incoming = null;
    this.away = this.loaded;
  }

  /** Server time in epoch ms; NaN before the first frame that told it. @param {number} now monotonic ms */
  server_now(now) {
    return this.clock === null ? NaN : this.clock.server + (now - this.clock.local);
  }

  /** @param {Frame} frame @param {number} now monotonic ms @returns {Outcome} */
  apply(frame, now) {
    if (frame.server_time) this.clock = { server: millis(frame.server_time), local: now };
    switch (frame.type) {
      case "hello":
        return this.#hello(frame, now);
      case "snapshot":
        return this.#snapshot(frame, now);
      case "delta":
        return this.#delta(frame, now);
      case "transition":
        return { ...nothing(), transitions: [frame] };
      case "gap":
        return { ...nothing(), gap: true };
      case "counts":
        this.server_tally = STATUSES.map((status) => frame[status]);
        return nothing();
      case "observation":
        this.observation = frame;
        return nothing();
      default:
        return nothing(); // a newer server may say more than we understand
    }
  }

  /** @param {Hello} frame @param {number} now */
  #hello(frame, now) {
    // Another epoch is another run of the hub: its version numbers have nothing to do with ours.
    if (frame.epoch !== this.epoch) this.version = null;
    this.epoch = frame.epoch;
    if (frame.version === this.version) this.#back(now);
    return nothing();
  }

  /** @param {Snapshot} frame @param {number} now @returns {Outcome} */
  #snapshot(frame, now) {
    // Parts come in order; whether they count from 0 or 1 does not matter here.
    const { incoming: open } = this;
    if (open === null || open.version !== frame.version || frame.part <= open.part) this.#open_snapshot(frame);
    const incoming = /** @type {NonNullable<LiveState["incoming"]>} */ (this.incoming);
    incoming.part = frame.part;
    for (const row of frame.vehicles) incoming.fleet.put(row);
    incoming.received += 1;
    if (incoming.received < incoming.parts) {
      const in_sight = incoming.fleet === this.fleet;
      return { ...nothing(), changed: in_sight ? CHANGED.added : 0, replaced: in_sight && incoming.received === 1 };
    }
    const before = this.fleet;
    this.fleet = incoming.fleet;
    this.incoming = null;
    this.version = frame.version;
    this.loaded = true;
    this.missed = this.away ? differences(before, this.fleet) : 0;
    this.#back(now);
    return { ...nothing(), ack: frame.version, changed: CHANGED.added, replaced: true };
  }

  /** @param {Snapshot} frame */
  #open_snapshot(frame) {
    this.incoming = { version: frame.version, parts: frame.parts, part: frame.part, received: 0, fleet: new Fleet() };
    // On the first load rows show as they come; later the old fleet stays in sight until the new one is whole.
    if (!this.loaded) this.fleet = this.incoming.fleet;
  }

  /** @param {Delta} frame @param {number} now @returns {Outcome} */
  #delta(frame, now) {
    // The server went on from what we had instead of finishing its snapshot: our resume reached it late.
    this.incoming = null;
    if (this.version === null || frame.from > this.version) {
      const resync = `delta from version ${frame.from}, but this page has ${this.version}`;
      this.version = null;
      return { ...nothing(), resync };
    }
    // One that starts before our version is welcome: a delta carries newest states, so it can only tell the same or
    // newer.
    let changed = 0;
    // Removals first: a vehicle that left and came back since is in both lists.
    for (const { customer, vehicle } of frame.removed ?? []) {
      const bits = this.fleet.remove(customer, vehicle);
      changed |= bits;
      if (bits) this.missed += 1;
    }
    for (const row of frame.changed ?? []) {
      const bits = this.fleet.put(row);
      changed |= bits;
      if (bits & (CHANGED.added | CHANGED.status)) this.missed += 1;
    }
    // A long delta comes in several frames; all but the last say that we are still where we were.
    if (frame.version === frame.from && frame.version === this.version) return { ...nothing(), changed };
    this.version = Math.max(this.version, frame.version);
    this.#back(now);
    return { ...nothing(), ack: this.version, changed };
  }

  /** We are where the server is. @param {number} now */
  #back(now) {
    if (this.away) this.caught_up = { changes: this.missed, at: now };
    this.away = false;
    this.missed = 0;
  }
}

/**
 * Vehicles that changed status (or passed through one), came or went between two fleets.
 * @param {Fleet} before
 * @param {Fleet} after
 */
export function differences(before, after) {
  let same = 0;
  let changed = 0;
  for (const [key, slot] of before.slots) {
    const other = after.slots.get(key);
    if (other === undefined) continue;
    const equal =
      before.status[slot] === after.status[other] && Object.is(before.number.seq[slot], after.number.seq[other]);
    if (equal) same += 1;
    else changed += 1;
  }
  return changed + (before.count - same - changed) + (after.count - same - changed);
}
