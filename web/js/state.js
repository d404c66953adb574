/**
 * What this page knows: applies the frames of the live socket, one by one, and keeps where to resume.
 * Fed by live.js through app.js; read by the views. Pure: time comes in as an argument, answers go out as a return value.
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
 * @typedef {{type: "observation", listening: boolean, since: string, cause?: string}} Observation
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
    /** A snapshot on its way. @type {{version: number, parts: number, received: number, fleet: Fleet}|null} */
    this.incoming = null;
    /** @type {Observation} */
    this.observation = { type: "observation", listening: true, since: "" };
    /** The server's own counts of the whole fleet, in the order of STATUSES; null before the first. @type {number[]|null} */
    this.server_tally = null;
    /** Server time seen at a moment of our monotonic clock. @type {{server: number, local: number}|null} */
    this.clock = null;
    /** Set while the socket was lost and its successor has not caught up. */
    this.away = false;
    /** The last catching-up: how many vehicles changed status, came or went meanwhile. @type {{changes: number, at: number}|null} */
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
      case "hello": return this.#hello(frame, now);
      case "snapshot": return this.#snapshot(frame, now);
      case "delta": return this.#delta(frame, now);
      case "transition": return { ...nothing(), transitions: [frame] };
      case "gap": return { ...nothing(), gap: true };
      case "counts":
        this.server_tally = STATUSES.map((status) => frame[status]);
        return nothing();
      case "observation":
        this.observation = frame;
        return nothing();
      default: return nothing(); // a newer server may say more than we understand
    }
  }

  /** @param {Hello} frame @param {number} now */
  #hello(frame, now) {
    this.incoming = null;
    // Another epoch is another run of the hub: its version numbers have nothing to do with ours.
    if (frame.epoch !== this.epoch) this.version = null;
    this.epoch = frame.epoch;
    if (this.away && frame.version === this.version) this.#back(0, now);
    return nothing();
  }

  /** @param {Snapshot} frame @param {number} now @returns {Outcome} */
  #snapshot(frame, now) {
    // The first part opens the snapshot. Parts are counted, not numbered: all that matters is having them all.
    if (this.incoming === null || this.incoming.version !== frame.version) this.#open_snapshot(frame);
    const incoming = /** @type {NonNullable<LiveState["incoming"]>} */ (this.incoming);
    for (const row of frame.vehicles) incoming.fleet.put(row);
    incoming.received += 1;
    if (incoming.received < incoming.parts) {
      return { ...nothing(), changed: incoming.fleet === this.fleet ? CHANGED.added : 0, replaced: incoming.received === 1 && incoming.fleet === this.fleet };
    }
    const before = this.fleet;
    this.fleet = incoming.fleet;
    this.incoming = null;
    this.version = frame.version;
    this.loaded = true;
    if (this.away) this.#back(differences(before, this.fleet), now);
    return { ...nothing(), ack: frame.version, changed: CHANGED.added, replaced: true };
  }

  /** @param {Snapshot} frame */
  #open_snapshot(frame) {
    this.version = null;
    this.incoming = { version: frame.version, parts: frame.parts, received: 0, fleet: new Fleet() };
    // On the first load rows show as they come; later the old fleet stays in sight until the new one is whole.
    if (!this.loaded) this.fleet = this.incoming.fleet;
  }

  /** @param {Delta} frame @param {number} now @returns {Outcome} */
  #delta(frame, now) {
    if (this.version !== null && frame.version <= this.version) return { ...nothing(), ack: this.version };
    if (this.version === null || frame.from > this.version) {
      const resync = `delta from version ${frame.from}, but this page has ${this.version}`;
      this.version = null;
      return { ...nothing(), resync };
    }
    let changed = 0;
    let notable = 0;
    for (const row of frame.changed ?? []) {
      const bits = this.fleet.put(row);
      changed |= bits;
      if (bits & (CHANGED.added | CHANGED.status)) notable += 1;
    }
    for (const { customer, vehicle } of frame.removed ?? []) {
      const bits = this.fleet.remove(customer, vehicle);
      changed |= bits;
      if (bits) notable += 1;
    }
    this.version = frame.version;
    if (this.away) this.#back(notable, now);
    return { ...nothing(), ack: frame.version, changed };
  }

  /** @param {number} changes @param {number} now */
  #back(changes, now) {
    this.away = false;
    this.caught_up = { changes, at: now };
  }
}

/** Vehicles that changed status (or passed through one), came or went between two fleets. @param {Fleet} before @param {Fleet} after */
export function differences(before, after) {
  let same = 0;
  let changed = 0;
  for (const [key, slot] of before.slots) {
    const other = after.slots.get(key);
    if (other === undefined) continue;
    const equal = before.status[slot] === after.status[other] && Object.is(before.number.seq[slot], after.number.seq[other]);
    if (equal) same += 1;
    else changed += 1;
  }
  return changed + (before.count - same - changed) + (after.count - same - changed);
}
