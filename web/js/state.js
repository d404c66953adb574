/**
 * What this page knows: applies what the service says, frame by frame, and keeps where to resume.
 * Fed by live.js through app.js; read by the views. Pure: time comes in as an argument, answers go out as a return
 * value. What does not fit what is known is never guessed at: it ends in a resync.
 */
import { WireError } from "./codec.js";
import { CHANGED, STATUSES, Fleet } from "./fleet.js";
import { differences } from "./order.js";
import { Pace } from "./pulse.js";

/**
 * @typedef {{customer: string, vehicle: string, seq: number, from: string, to: string, at: string, cause: string,
 *   decided_at?: string, evidence?: any}} Transition
 * @typedef {{type: "hello", epoch: string, version: number, tick_ms?: number, service?: string}} Hello
 * @typedef {{type: "counts", online: number, offline: number, unobserved: number, never_seen: number}} Counts
 * @typedef {{type: "observation", listening: boolean, since: string, scope?: string, cause?: string}} Observation
 * @typedef {{type: "gap", dropped: number} | {type: "bye", reason: string}
 *   | {type: "resync", refused: boolean}} Other
 * @typedef {(Hello | Counts | Observation | Other) & {server_time?: string}} TextFrame
 * @typedef {import("./codec.js").BinaryFrame} BinaryFrame
 * @typedef {{service?: string, web_files?: string, server_time: string, counts: Record<string, number>,
 *   tally: Record<string, number>, total: number,
 *   items: import("./fleet.js").Vehicle[]}} First  comes with the page, for the filters in its address
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
    /** Of the delta that is coming: its frames so far. */
    this.frames = 0;
    /** A snapshot on its way: bytes. @type {{received: number, total: number}|null} */
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
    /** How far behind this page is, and what it missed. */
    this.pace = new Pace();
    /** Version of the service and mark of its files: those of this page, and those of now. "" while not known. */
    this.service = { page: "", now: "", page_files: "", files: "" };
    /** Set while the socket was lost and its successor has not caught up. */
    this.away = false;
    /** Changes heard of since then. */
    this.missed = 0;
    /**
     * The last catching-up: how many vehicles changed status, came or went meanwhile.
     * @type {{changes: number, at: number}|null}
     */
    this.caught_up = null;
    /**
     * What the page itself brought, until the snapshot is there: the tally under its filters, and how many match.
     * @type {{tally: number[], found: number}|null}
     */
    this.first = null;
  }

  /**
   * The counts and first rows that came with the page, to be seen until the snapshot is there.
   * @param {First} first
   * @param {number} now
   */
  begin(first, now) {
    const tally = (/** @type {Record<string, number>} */ counts) => STATUSES.map((status) => counts[status]);
    Object.assign(this.service, { page: first.service ?? "", page_files: first.web_files ?? "" });
    this.clock = { server: Date.parse(first.server_time), local: now };
    this.server_tally = tally(first.counts);
    this.fleet.join_vehicles(first.items);
    this.first = { tally: tally(first.tally), found: first.total };
  }

  /** What to ask for on a new socket; null: a snapshot is needed first. */
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

  /** @param {TextFrame|BinaryFrame} frame @param {number} now monotonic ms @returns {Outcome} */
  apply(frame, now) {
    if ("server_ms" in frame) {
      // A snapshot was some time under way, and shared with others before.
      if (frame.type !== "snapshot" || this.clock === null) this.clock = { server: frame.server_ms, local: now };
      if (frame.type !== "snapshot") this.pace.heard(frame.server_ms, now);
      return this.#binary(frame, now);
    }
    if (frame.server_time) {
      this.clock = { server: Date.parse(frame.server_time), local: now };
      this.pace.heard(this.clock.server, now);
    }
    switch (frame.type) {
      case "hello":
        return this.#hello(frame, now);
      case "resync":
        if (frame.refused) this.version = null; // nothing of ours is good enough to go on from
        return nothing();
      case "gap":
        this.pace.dropped += frame.dropped;
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

  /** @param {BinaryFrame} frame @param {number} now @returns {Outcome} */
  #binary(frame, now) {
    try {
      if (frame.type === "snapshot") return this.#snapshot(frame, now);
      if (frame.type === "transitions") return { ...nothing(), transitions: this.fleet.named(frame) };
      return this.#delta(frame, now);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.version = null;
      this.pace.resyncs += 1;
      return { ...nothing(), resync: error.message };
    }
  }

  /** @param {Hello} frame @param {number} now */
  #hello(frame, now) {
    this.pace.begin(frame.tick_ms);
    this.frames = 0;
    this.service.now = frame.service ?? "";
    // Another epoch is another run of the hub: its version numbers have nothing to do with ours.
    if (frame.epoch !== this.epoch) this.version = null;
    if (frame.version === this.version) this.#back(now);
    return nothing();
  }

  /** @param {import("./codec.js").SnapshotFrame} frame @param {number} now @returns {Outcome} */
  #snapshot(frame, now) {
    const before = this.fleet;
    const fleet = new Fleet();
    fleet.version = before.version; // for those who draw only what is newer
    fleet.join(frame);
    if (fleet.size !== frame.count) throw new WireError("a snapshot with a vehicle twice");
    this.fleet = fleet;
    this.incoming = null;
    this.first = null;
    this.epoch = frame.epoch;
    this.version = frame.version;
    this.frames = 0;
    this.loaded = true;
    this.missed = this.away ? differences(before, fleet) : 0;
    this.#back(now);
    return { ...nothing(), ack: frame.version, changed: CHANGED.added, replaced: true };
  }

  /**
   * @param {Exclude<BinaryFrame, {type: "snapshot" | "transitions"}>} frame
   * @param {number} now
   * @returns {Outcome}
   */
  #delta(frame, now) {
    if (this.version === null || frame.from > this.version) {
      throw new WireError(`delta from version ${frame.from}, but this page has ${this.version ?? "none"}`);
    }
    // One that starts before our version is welcome: a delta carries newest states, so it can only tell the same or
    // newer.
    const before = this.fleet.size;
    const changed = this.#apply(frame);
    if (changed & (CHANGED.added | CHANGED.removed)) this.missed += Math.abs(this.fleet.size - before);
    if (changed & CHANGED.status) this.missed += frame.count;
    // A long delta comes in several frames; all but the last say that we are still where we were.
    this.frames += 1;
    if (frame.version === frame.from) return { ...nothing(), changed };
    if (frame.frames > 0 && frame.frames !== this.frames) {
      throw new WireError(`${this.frames} of ${frame.frames} frames of a delta came`);
    }
    this.frames = 0;
    if (!this.away) this.pace.stepped(frame.version - this.version);
    this.version = Math.max(this.version, frame.version);
    this.#back(now);
    return { ...nothing(), ack: this.version, changed };
  }

  /** @param {Exclude<BinaryFrame, {type: "snapshot" | "transitions"}>} frame */
  #apply(frame) {
    switch (frame.type) {
      case "joined":
        return this.fleet.join(frame);
      case "left":
        return this.fleet.leave(frame.slot);
      case "turned":
        return this.fleet.turn(frame);
      case "heard":
        return this.fleet.hear(frame);
    }
  }

  /** We are where the server is. @param {number} now */
  #back(now) {
    if (this.away) this.caught_up = { changes: this.missed, at: now };
    this.away = false;
    this.missed = 0;
  }
}
