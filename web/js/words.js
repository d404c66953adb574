/**
 * How values are said: statuses, causes, times, ages. Pure; used by every view.
 */

/**
 * Word and shape of each status, in the order of STATUSES (fleet.js). Shape and word are there for those who do not
 * see the colour.
 */
export const STATUS_WORDS = /** @type {const} */ ([
  { key: "online", word: "Online", shape: "●", meaning: "Heard within its offline timeout." },
  {
    key: "offline",
    word: "Offline",
    shape: "▲",
    meaning: "Silent for longer than its offline timeout, or switched off.",
  },
  {
    key: "unobserved",
    word: "Unobserved",
    shape: "○",
    meaning:
      "Its deadline passed while Rollcall itself was not listening, so nobody can say. It is not counted as offline.",
  },
  { key: "never_seen", word: "Never seen", shape: "□", meaning: "Registered, but no heartbeat has come yet." },
]);

/** @type {Record<string, string>} */
const CAUSES = {
  heartbeat: "a heartbeat arrived",
  silence: "no heartbeat until its deadline",
  blind: "Rollcall itself was not listening when its deadline passed",
  goodbye: "it said goodbye (planned switch-off)",
  last_will: "its connection broke and it did not come back in time",
  policy: "its offline timeout was changed",
};

/** @param {string} status a key, perhaps one we do not know */
export const status_word = (status) => STATUS_WORDS.find((each) => each.key === status)?.word ?? status;

/** @param {string} status as for status_word */
export const shape_of = (status) => STATUS_WORDS.find((each) => each.key === status)?.shape ?? "";

/** A cause of the server, readable: one word is spaced, a sentence stays as it is. @param {string} cause */
export const spaced = (cause) => (cause.includes(" ") ? cause : cause.replaceAll("_", " "));

/** Which part of Rollcall cannot hear. @type {Record<string, string>} */
const SCOPES = {
  process: "it was not running",
  link: "its connection to the broker",
  intake: "its own test heartbeats are late",
};

/** Why Rollcall cannot hear, in brackets; empty when nobody says. @param {string} scope @param {string} cause */
export function blind_words(scope, cause) {
  const words = [SCOPES[scope] ?? "", spaced(cause)].filter((each) => each !== "");
  return words.length === 0 ? "" : ` (${words.join(": ")})`;
}

/**
 * What the test heartbeats prove, which Rollcall sends itself through the broker.
 * @param {{state: string, board: {lag_ms: number}|null}|null} canary
 */
export function canary_words(canary) {
  if (canary === null || canary.state === "off") return "";
  if (canary.state === "refused") return "The broker refuses our test heartbeats";
  if (canary.state !== "well") return "Test heartbeats do not come through";
  const lag = canary.board?.lag_ms;
  if (lag === undefined) return "";
  return `Test heartbeats come through in ${lag < 1_000 ? `${lag} ms` : `${(lag / 1_000).toFixed(1)} s`}`;
}

/**
 * Which part of the service does not work, and what that means for what is seen; "" when all do, or nobody can say.
 * @param {any} status as GET /status tells it
 */
export function degraded_words(status) {
  const { store } = status ?? {};
  if (store?.stuck)
    return `What is decided cannot be kept on disk (${store.stuck}). Live status is right all the same.`;
  if (!store || store.ok) return "";
  const waits =
    store.spool_rows > 0 ? `; ${whole(store.spool_rows)} transitions wait on disk and are written later` : "";
  return `The ${store.kind} store takes no writes${waits}. Live status is not affected, history is behind.`;
}

/** The cause of a transition in words. @param {import("./state.js").Transition} transition */
export function cause_in_words({ cause, at, evidence }) {
  const words = CAUSES[cause] ?? spaced(cause);
  const silent_ms = Date.parse(at) - (evidence?.last_seen ? Date.parse(evidence.last_seen) : NaN);
  return cause === "silence" && silent_ms > 0 ? `no heartbeat for ${duration(silent_ms)}` : words;
}

/** Where a timeout comes from. @type {Record<string, string>} */
const POLICY_SOURCES = { vehicle: "set for this vehicle", customer: "set for its customer", default: "the default" };

/** @param {string} source */
export const source_words = (source) => POLICY_SOURCES[source] ?? source;

/** What a decision rests on: "last heard 10:14:32, deadline 10:16:02 (1 min 30 s, the default)". "" when nobody says.
 * @param {import("./state.js").Transition} transition */
export function evidence_in_words({ to, evidence }) {
  if (!evidence || to === "online") return "";
  const { last_seen, deadline, offline_after_ms, policy_source } = evidence;
  const parts = [];
  if (last_seen) parts.push(`last heard ${clock_time(Date.parse(last_seen))}`);
  const policy = offline_after_ms ? ` (${duration(offline_after_ms)}, ${source_words(policy_source)})` : "";
  if (deadline) parts.push(`deadline ${clock_time(Date.parse(deadline))}${policy}`);
  if (evidence.position) parts.push(`at ${place(evidence.position.lat, evidence.position.lon, 4)}`);
  return parts.join(", ");
}

/** "99.87 %", never rounded up: an outage is not 100 %. @param {number|null} share 0..1 */
export const percent = (share) => (share === null ? "–" : `${(Math.floor(share * 10_000) / 100).toFixed(2)} %`);

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A length of time in at most two units. @param {number} ms */
export function duration(ms) {
  if (ms < MINUTE) return `${Math.floor(Math.max(0, ms) / SECOND)} s`;
  if (ms < HOUR) return two(ms, MINUTE, "min", SECOND, "s");
  if (ms < DAY) return two(ms, HOUR, "h", MINUTE, "min");
  return two(ms, DAY, "d", HOUR, "h");
}

/** @param {number} ms @param {number} big @param {string} big_unit @param {number} small @param {string} small_unit */
function two(ms, big, big_unit, small, small_unit) {
  const rest = Math.floor((ms % big) / small);
  return `${Math.floor(ms / big)} ${big_unit}${rest > 0 ? ` ${rest} ${small_unit}` : ""}`;
}

/**
 * How long ago, by server time; in one unit above a minute, since a list is compared by eye.
 * @param {number} then
 * @param {number} server_now
 */
export function age(then, server_now) {
  if (Number.isNaN(then)) return "never";
  const ms = Math.max(0, server_now - then);
  if (Number.isNaN(ms)) return "…"; // no server time yet
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s ago`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min ago`;
  return ms < 2 * DAY ? `${Math.floor(ms / HOUR)} h ago` : `${Math.floor(ms / DAY)} d ago`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const DATE = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

/** @param {number} time epoch ms */
export const clock_time = (time) => (Number.isNaN(time) ? "an unknown time" : CLOCK.format(time));

/** @param {number} time epoch ms */
export const date_time = (time) => (Number.isNaN(time) ? "" : `${DATE.format(time)}, ${CLOCK.format(time)}`);

/**
 * A recent moment by the clock alone, an older one with its date.
 * @param {number} time epoch ms
 * @param {number} server_now
 */
export const moment = (time, server_now) =>
  Math.abs(server_now - time) < 12 * HOUR ? clock_time(time) : date_time(time);

/** @param {number} value */
export const whole = (value) => value.toLocaleString("en");

/**
 * "51.50736, -0.12765": five decimals are about a metre.
 * @param {number} lat
 * @param {number} lon
 * @param {number} decimals
 */
export const place = (lat, lon, decimals) =>
  Number.isNaN(lat) || Number.isNaN(lon) ? "" : `${lat.toFixed(decimals)}, ${lon.toFixed(decimals)}`;

/** @param {number} value @param {string} unit @param {number} [decimals] */
export const measure = (value, unit, decimals = 0) => (Number.isNaN(value) ? "" : `${value.toFixed(decimals)} ${unit}`);

/** @typedef {{ customer: string, vehicle: string, kind: string, detail: string, count: number }} Warning */

/** One line for all warnings of a vehicle. @param {Warning[]} warnings */
export const warnings_in_words = (warnings) =>
  warnings.map(({ detail, count }) => `${detail} (${whole(count)} ${count === 1 ? "time" : "times"})`).join(". ");
