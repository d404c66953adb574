/**
 * The newest transitions of the fleet, what of them somebody has acknowledged, and what is worth saying aloud. Pure:
 * time comes in as an argument, what has to be kept goes out as a value.
 * Fed by panes.js with live transitions and with what REST tells of the time before; read by alerts.js.
 */
import { keyOf } from "./fleet.js";
import { whole } from "./words.js";

/** @typedef {import("./state.js").Transition} Transition */
/** @typedef {Transition & {id: string, time: number, severity: Severity}} Entry */
/** @typedef {"alert"|"notice"|"recovery"} Severity */
/** @typedef {{until: number, ids: string[]}} Kept  everything up to a moment, and single ones after it */

/** More than anybody reads; the older ones are in REST. Oldest are dropped. */
export const ENTRIES_MAX = 500;
/** Acknowledgements of single entries that are remembered; with more, the oldest are dropped. */
const IDS_MAX = 500;
/** Not more often: each event read aloud would be noise. */
export const SAY_EVERY_MS = 5_000;
/** A fleet that falls silent does so in many frames; the first of them is not worth a sentence of its own. */
export const GATHER_MS = 1_000;

/** Planned, or our own blindness, is no alarm. @param {Transition} transition @returns {Severity} */
export function severity_of({ to, cause }) {
  if (to === "online") return "recovery";
  return to === "offline" && cause !== "goodbye" ? "alert" : "notice";
}

export class TransitionLog {
  constructor() {
    /** Newest first. @type {Entry[]} */
    this.entries = [];
    /** Counts the changes, for those who draw. */
    this.version = 0;
    /** @type {Kept} */
    this.kept = { until: 0, ids: [] };
    /** What happened since it was last said: transitions by their new status, and one vehicle of each. */
    this.unsaid = new Map(/** @type {[string, {count: number, vehicle: string}][]} */ ([]));
    this.said_at = -Infinity;
    /** When the first of them was found unsaid; null while there is none. @type {number|null} */
    this.gathered_from = null;
  }

  /** Live ones, which are worth saying. @param {Transition[]} transitions */
  hear(transitions) {
    if (transitions.length === 0) return;
    for (const { to, vehicle } of transitions) {
      this.unsaid.set(to, { count: (this.unsaid.get(to)?.count ?? 0) + 1, vehicle });
    }
    // A thousand at once are not all wanted: the newest are enough to know.
    this.merge(transitions.slice(-ENTRIES_MAX));
  }

  /**
   * More of them, in any order; those that are here stay, but for what REST knows better.
   * @param {Transition[]} list
   */
  merge(list) {
    const known = new Map(this.entries.map((entry) => [entry.id, entry]));
    for (const each of list) {
      const id = `${keyOf(each.customer, each.vehicle)}#${each.seq}`;
      const before = known.get(id);
      if (before === undefined || (each.evidence && !before.evidence)) {
        known.set(id, { ...each, id, time: Date.parse(each.at), severity: severity_of(each) });
      }
    }
    this.entries = [...known.values()].sort((a, b) => b.time - a.time || b.seq - a.seq).slice(0, ENTRIES_MAX);
    this.version += 1;
  }

  /** @param {Entry} entry */
  is_open(entry) {
    return entry.severity === "alert" && entry.time > this.kept.until && !this.kept.ids.includes(entry.id);
  }

  /** Alerts that nobody has acknowledged here. @param {string} customer "" is all */
  unread(customer) {
    return this.entries.filter((each) => (customer === "" || each.customer === customer) && this.is_open(each)).length;
  }

  /** @param {Entry} entry @returns {Kept} */
  acknowledge(entry) {
    return this.keep({ ...this.kept, ids: [...this.kept.ids, entry.id].slice(-IDS_MAX) });
  }

  /** Everything up to the newest entry of those shown. @param {Entry[]} shown @returns {Kept} */
  acknowledge_all(shown) {
    if (shown.length === this.entries.length) {
      return this.keep({ until: Math.max(this.kept.until, this.entries[0]?.time ?? 0), ids: [] });
    }
    const ids = shown.filter((each) => this.is_open(each)).map(({ id }) => id);
    return this.keep({ ...this.kept, ids: [...this.kept.ids, ...ids].slice(-IDS_MAX) });
  }

  /** What was acknowledged, perhaps in another tab. @param {Kept} kept */
  keep(kept) {
    this.kept = kept;
    this.version += 1;
    return kept;
  }

  /** One sentence for all that happened since the last; "" when it is too early, or nothing did. @param {number} now */
  summary(now) {
    if (this.unsaid.size === 0) return "";
    this.gathered_from ??= now;
    if (now - this.gathered_from < GATHER_MS || now - this.said_at < SAY_EVERY_MS) return "";
    this.gathered_from = null;
    this.said_at = now;
    const parts = [...this.unsaid].map(([to, { count, vehicle }]) => said(to, count, vehicle));
    this.unsaid.clear();
    return `${parts.join(", ")}.`;
  }
}

/** @type {Record<string, string>} */
const WENT = { online: "came online", offline: "went offline", unobserved: "became unobserved" };

/** @param {string} to @param {number} count @param {string} vehicle */
const said = (to, count, vehicle) =>
  `${count === 1 ? vehicle : `${whole(count)} vehicles`} ${WENT[to] ?? `became ${to.replaceAll("_", " ")}`}`;

/** What was kept as text, or nothing. @param {string|null} text @returns {Kept} */
export function kept_of(text) {
  try {
    const { until, ids } = JSON.parse(text ?? "");
    if (Number.isFinite(until) && Array.isArray(ids)) return { until, ids: ids.map(String).slice(-IDS_MAX) };
  } catch {
    // somebody else's text, or none
  }
  return { until: 0, ids: [] };
}
