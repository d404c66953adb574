/** What is made of transitions: the log of alerts with its acknowledgements, and the timeline of one vehicle. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { pieces_of, spoken } from "../../web/js/timeline.js";
import { ENTRIES_MAX, GATHER_MS, SAY_EVERY_MS, TransitionLog, kept_of, severity_of } from "../../web/js/transition-log.js";

const T = Date.UTC(2026, 0, 31);
const turn = (vehicle, seq, to, at, { from = "online", cause = "silence", customer = "acme", ...rest } = {}) =>
  ({ customer, vehicle, seq, from, to, at: new Date(T + at).toISOString(), cause, ...rest });
const names = (entries) => entries.map(({ vehicle, seq }) => `${vehicle}#${seq}`);

test("only silence and a broken connection are alarms; a goodbye and our own blindness are not", () => {
  const severity = (to, cause) => severity_of({ to, cause });
  assert.deepEqual([severity("offline", "silence"), severity("offline", "last_will"), severity("offline", "goodbye"), severity("unobserved", "blind"), severity("online", "heartbeat")],
    ["alert", "alert", "notice", "notice", "recovery"]);
});

test("what comes live and what REST tells are one list, newest first, each once; evidence is taken from REST", () => {
  const log = new TransitionLog();
  log.hear([turn("A", 2, "offline", 5_000), turn("B", 1, "online", 9_000)]);
  log.merge([turn("A", 2, "offline", 5_000, { evidence: { last_seen: null } }), turn("A", 1, "online", 1_000)]);
  assert.deepEqual(names(log.entries), ["B#1", "A#2", "A#1"]);
  assert.ok(log.entries[1].evidence);
});

test("a hundred thousand at once cost a bounded list, and the newest stay", () => {
  const log = new TransitionLog();
  log.hear(Array.from({ length: 100_000 }, (_, at) => turn(`V${at}`, 1, "offline", at)));
  assert.equal(log.entries.length, ENTRIES_MAX);
  assert.equal(log.entries[0].vehicle, "V99999");
  assert.equal(log.summary(0), "");
  assert.equal(log.summary(GATHER_MS), "100,000 vehicles went offline.");
});

test("acknowledging one, or all, counts down; a later alert counts again", () => {
  const log = new TransitionLog();
  log.hear([turn("A", 1, "offline", 1_000), turn("B", 1, "offline", 2_000, { customer: "globex" }), turn("C", 1, "online", 3_000)]);
  assert.deepEqual([log.unread(""), log.unread("globex")], [2, 1]);
  log.acknowledge(log.entries[1]);
  assert.deepEqual([log.unread(""), log.unread("globex")], [1, 0]);
  const kept = log.acknowledge_all(log.entries);
  assert.equal(log.unread(""), 0);
  log.hear([turn("A", 3, "offline", 8_000)]);
  assert.equal(log.unread(""), 1);
  const other = new TransitionLog();
  other.keep(kept_of(JSON.stringify(kept)));
  other.merge(log.entries);
  assert.equal(other.unread(""), 1, "another tab knows it too");
});

test("acknowledging those of one customer leaves the others", () => {
  const log = new TransitionLog();
  log.hear([turn("A", 1, "offline", 1_000), turn("B", 1, "offline", 2_000, { customer: "globex" })]);
  log.acknowledge_all(log.entries.filter(({ customer }) => customer === "globex"));
  assert.deepEqual([log.unread("globex"), log.unread("acme")], [0, 1]);
});

test("what was kept by somebody else is nothing", () => {
  for (const text of [null, "", "{}", "[1]", `{"until":"x","ids":[]}`]) assert.deepEqual(kept_of(text), { until: 0, ids: [] });
});

test("one sentence at most every five seconds says what happened", () => {
  const log = new TransitionLog();
  assert.equal(log.summary(0), "");
  log.hear([turn("A", 1, "offline", 0)]);
  log.summary(0);
  assert.equal(log.summary(GATHER_MS), "A went offline.");
  log.hear([turn("B", 1, "offline", 0), turn("C", 1, "offline", 0)]);
  for (const now of [GATHER_MS, GATHER_MS + SAY_EVERY_MS - 1]) assert.equal(log.summary(now), "");
  log.hear([turn("A", 2, "online", 0)]);
  assert.equal(log.summary(GATHER_MS + SAY_EVERY_MS), "2 vehicles went offline, A came online.");
  log.merge([turn("D", 1, "offline", 0)]);
  assert.equal(log.summary(10 * SAY_EVERY_MS), "", "the past is not news");
});

test("what comes in many frames is gathered into one sentence", () => {
  const log = new TransitionLog();
  for (let at = 0; at < GATHER_MS; at += 10) {
    log.hear([turn(`V${at}`, 1, "offline", at)]);
    assert.equal(log.summary(at), "");
  }
  assert.equal(log.summary(GATHER_MS), "100 vehicles went offline.");
});

const HOUR = 3_600_000;
const timeline = (transitions, { blind = [], from = 0, to = 24 * HOUR, now = "online", known_from = 0 } = {}) =>
  pieces_of(transitions, blind.map(([a, b]) => ({ from: T + a, to: b === null ? null : T + b })), T + from, T + to, now, T + known_from)
    .map(({ from, to, status }) => [(from - T) / HOUR, (to - T) / HOUR, status]);

test("a day of one vehicle has no gap and no overlap", () => {
  const day = timeline([turn("A", 3, "online", 5 * HOUR, { from: "offline" }), turn("A", 2, "offline", 4 * HOUR)]);
  assert.deepEqual(day, [[0, 4, "online"], [4, 5, "offline"], [5, 24, "online"]]);
  assert.deepEqual(timeline([], { now: "offline" }), [[0, 24, "offline"]]);
});

test("silence while we were deaf is unobserved; being online is not doubted", () => {
  const day = timeline([turn("A", 2, "offline", 10 * HOUR)], { now: "offline", blind: [[8 * HOUR, 12 * HOUR], [20 * HOUR, null]] });
  assert.deepEqual(day, [[0, 10, "online"], [10, 12, "unobserved"], [12, 20, "offline"], [20, 24, "unobserved"]]);
});

test("what is not known is not invented", () => {
  const day = timeline([turn("A", 900, "offline", 20 * HOUR)], { now: "offline", known_from: 18 * HOUR });
  assert.deepEqual(day, [[0, 18, ""], [18, 20, "online"], [20, 24, "offline"]]);
});

test("the strip is said in a sentence, longest first", () => {
  const pieces = [[0, 4, "online"], [4, 5, "offline"], [5, 6, "online"], [6, 6.5, "offline"]].map(([from, to, status]) => ({ from: from * HOUR, to: to * HOUR, status }));
  assert.equal(spoken(pieces), "online 5 h, 2 times; offline 1 h 30 min, 2 times");
  assert.equal(spoken([{ from: 0, to: HOUR, status: "" }]), "not known 1 h");
});
