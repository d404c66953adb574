/**
 * When to worry about the connection, when to try again, and how far behind the page is. Pure, in milliseconds.
 * Used by live.js and by the loading of the panes (which act on it), state.js (which feeds the pace) and banner.js
 * (which says so).
 */

/** The server says something at least once a second (its counts), so five missed beats mean that values may be old. */
export const STALE_AFTER_MS = 5_000;
/** A socket that said nothing for so long is taken for dead, even when the system still calls it open. */
export const DEAD_AFTER_MS = 15_000;
/**
 * The back-off starts over only after a connection has proved itself; else a server that accepts and drops would be
 * hammered.
 */
export const HEALTHY_AFTER_MS = 10_000;
const FIRST_DELAY_MS = 500;
const LAST_DELAY_MS = 15_000;
/** From this attempt on the delay is the longest. */
export const LAST_ATTEMPT = 10;
/**
 * A service that is restarted is away for seconds, and is to be seen again within two of them. Asking a door that
 * nobody opens costs nobody anything, so for the first minute it is asked this often; who opens it and drops us waits
 * as long as it takes.
 */
const EAGER_DELAY_MS = 1_250;
export const EAGER_FOR_MS = 60_000;
/** A part of the page that could not be loaded is asked for again: the service may have been away for a moment. */
export const LOAD_AGAIN_MS = 5_000;
/** Up to a quarter more or less, so that a hundred dashboards do not come back in the same instant. */
const JITTER = 0.25;

/** @param {number} attempt 0 for the first @param {number} random 0..1 @param {boolean} eager @returns {number} */
export function retry_delay_ms(attempt, random, eager = false) {
  const most = eager ? EAGER_DELAY_MS : LAST_DELAY_MS;
  const plain = Math.min(most, FIRST_DELAY_MS * 2 ** Math.min(attempt, LAST_ATTEMPT));
  return Math.min(LAST_DELAY_MS, plain * (1 - JITTER + 2 * JITTER * random));
}

/** @param {number} silent_ms @returns {"well"|"stale"|"dead"} */
export function pulse(silent_ms) {
  if (silent_ms >= DEAD_AFTER_MS) return "dead";
  return silent_ms >= STALE_AFTER_MS ? "stale" : "well";
}

/** The delay that is told is the worst of so long. */
const PACE_WINDOW_MS = 5_000;
/** Clocks drift apart: what was the quickest frame ever may be an error of one ms by the next second. */
const DRIFT_MS_PER_S = 1;
/** A delta over so much time is slow; so many after one another are no accident. */
const SLOW_STEP_MS = 1_000;
const SLOW_STEPS = 3;

/** How far behind the service this page is, and what it missed. */
export class Pace {
  constructor() {
    this.tick_ms = 250;
    /** Our clock minus the service's, by the quickest frame; both clocks begin somewhere. */
    this.quickest = Infinity;
    this.quickest_at = 0;
    /** How much slower the frames of the window were. @type {{at: number, ms: number}[]} */
    this.late = [];
    /** Long deltas after one another, and the longest time one of them stood for. */
    this.slow = 0;
    this.step_ms = 0;
    /** Transitions that the service could not send to us; they are read by REST. */
    this.dropped = 0;
    /** Times that our copy could not be trusted any more. */
    this.resyncs = 0;
  }

  /** On a new connection: the way may be another one. @param {number|undefined} tick_ms */
  begin(tick_ms) {
    this.tick_ms = tick_ms ?? this.tick_ms;
    Object.assign(this, { quickest: Infinity, late: [], slow: 0, step_ms: 0 });
  }

  /** A frame came that was written just then. @param {number} server_ms @param {number} now */
  heard(server_ms, now) {
    const way = now - server_ms;
    const crept = this.quickest + ((now - this.quickest_at) / 1_000) * DRIFT_MS_PER_S;
    this.quickest = Math.min(way, crept);
    this.quickest_at = now;
    this.late = this.late.filter(({ at }) => now - at < PACE_WINDOW_MS);
    // At most one a tick is kept, so that the list stays short however many frames come.
    const last = this.late.at(-1);
    const ms = way - this.quickest;
    if (last !== undefined && now - last.at < this.tick_ms) last.ms = Math.max(last.ms, ms);
    else this.late.push({ at: now, ms });
  }

  /** A delta was applied that leads so many versions on. @param {number} versions */
  stepped(versions) {
    const ms = versions * this.tick_ms;
    this.slow = ms >= SLOW_STEP_MS ? this.slow + 1 : 0;
    this.step_ms = this.slow === 0 ? 0 : Math.max(this.step_ms, ms);
  }

  /** How old the newest values may be; NaN before the first frame. */
  get delay_ms() {
    if (this.late.length === 0) return NaN;
    return this.tick_ms + Math.max(0, ...this.late.map(({ ms }) => ms));
  }

  /** How often updates come now, when that is seldom; 0 while all is well. */
  get slowed_ms() {
    return this.slow >= SLOW_STEPS ? this.step_ms : 0;
  }
}
