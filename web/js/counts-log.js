/**
 * How many vehicles were online, offline and unobserved, over time: what this page saw second by second, and what the
 * service stored before. Pure; makes the columns that chart.js draws.
 * Fed by panes.js with the counts of the live connection, and with buckets of REST (reads.js).
 */
import { STATUSES } from "./fleet.js";

/** @typedef {number|null} Known  null: nobody knows */
/** @typedef {{t: number, online: Known, offline: Known, unobserved: Known}} Point  t: epoch seconds */
/** @typedef {[number[], ...(number|null)[][]]} Table  the times, and a column a series */

/** An hour of counts, one a second; the oldest are dropped. 4 numbers each: 115 KB. */
const POINTS_MAX = 3_600;
/** Counts come once a second; a longer pause is a gap, and a line drawn over it would be invented. */
const PAUSE_S = 5;
export const SERIES = /** @type {const} */ (["online", "offline", "unobserved"]);

export class CountsLog {
  constructor() {
    /** Oldest first. @type {Point[]} */
    this.points = [];
    /** Counts the changes, for those who draw. */
    this.version = 0;
  }

  /** @param {number} server_ms @param {number[]} tally in the order of STATUSES */
  add(server_ms, tally) {
    const last = this.points.at(-1);
    const t = Math.round(server_ms / 1_000);
    if (Number.isNaN(t) || (last !== undefined && t <= last.t)) return;
    if (last !== undefined && t - last.t > PAUSE_S) this.points.push(nothing_at(last.t + 1));
    const of = (/** @type {typeof STATUSES[number]} */ status) => tally[STATUSES.indexOf(status)];
    this.points.push({ t, online: of("online"), offline: of("offline"), unobserved: of("unobserved") });
    if (this.points.length > POINTS_MAX) this.points.splice(0, this.points.length - POINTS_MAX);
    this.version += 1;
  }
}

/** @param {number} t @returns {Point} */
const nothing_at = (t) => ({ t, online: null, offline: null, unobserved: null });

/**
 * Stored buckets as points; one in which the service was not there or could not hear says nothing.
 * @param {any[]} buckets oldest first
 * @returns {Point[]}
 */
export function points_of(buckets) {
  return buckets.map(({ at, online_avg, offline_avg, unobserved_avg, observed_s }) => {
    const t = Date.parse(at) / 1_000;
    if (observed_s === 0) return nothing_at(t);
    return { t, online: online_avg, offline: offline_avg, unobserved: unobserved_avg };
  });
}

/**
 * What was stored as far as the page had not seen it itself.
 * @param {Point[]} stored @param {Point[]} live @param {number} from epoch seconds
 */
export function joined(stored, live, from) {
  const first = live[0]?.t ?? Infinity;
  return [...stored.filter(({ t }) => t < first && t >= from), ...live.filter(({ t }) => t >= from)];
}

/** @param {Point[]} points @param {readonly (typeof SERIES[number])[]} series @returns {Table} */
export const table_of = (points, series) => [
  points.map(({ t }) => t),
  ...series.map((name) => points.map((each) => each[name])),
];

/** "now 188, least 150, most 200" @param {(number|null)[]} values */
export function summary_of(values) {
  const known = values.filter((each) => each !== null).map(Math.round);
  if (known.length === 0) return "not known yet";
  const [least, most] = known.reduce(
    ([low, high], each) => [Math.min(low, each), Math.max(high, each)],
    [Infinity, -Infinity],
  );
  return `now ${known[known.length - 1]}, least ${least}, most ${most}`;
}
