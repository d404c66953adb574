/**
 * When to worry about the connection, and when to try again. Pure rules in milliseconds.
 * Used by live.js (which acts on them) and banner.js (which says so).
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
/** Up to a quarter more or less, so that a hundred dashboards do not come back in the same instant. */
const JITTER = 0.25;

/** @param {number} attempt 0 for the first @param {number} random 0..1 @returns {number} */
export function retry_delay_ms(attempt, random) {
  const plain = Math.min(LAST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 10));
  return Math.min(LAST_DELAY_MS, plain * (1 - JITTER + 2 * JITTER * random));
}

/** @param {number} silent_ms @returns {"well"|"stale"|"dead"} */
export function pulse(silent_ms) {
  if (silent_ms >= DEAD_AFTER_MS) return "dead";
  return silent_ms >= STALE_AFTER_MS ? "stale" : "well";
}
