/** How values are said. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { STATUSES } from "../../web/js/fleet.js";
import { STATUS_WORDS, age, canary_words, cause_in_words, duration, measure, place, status_word, warnings_in_words } from "../../web/js/words.js";

test("every status has a word and a shape of its own, in the order of the columns", () => {
  assert.deepEqual(STATUS_WORDS.map(({ key }) => key), STATUSES);
  assert.equal(new Set(STATUS_WORDS.map(({ shape }) => shape)).size, STATUSES.length);
  assert.equal(new Set(STATUS_WORDS.map(({ word }) => word)).size, STATUSES.length);
  assert.equal(status_word("asleep"), "asleep");
});

test("ages and durations", () => {
  const now = Date.UTC(2026, 0, 31);
  const ages = [[0, "0 s ago"], [59_999, "59 s ago"], [60_000, "1 min ago"], [3_600_000, "1 h ago"], [47 * 3_600_000, "47 h ago"], [48 * 3_600_000, "2 d ago"]];
  for (const [ms, text] of ages) assert.equal(age(now - ms, now), text);
  assert.equal(age(now + 5_000, now), "0 s ago", "a clock slightly ahead is not the future");
  assert.deepEqual([age(NaN, now), age(now, NaN)], ["never", "…"]);
  assert.deepEqual([90_000, 3_600_000, 5_430_000, 90_000_000].map(duration), ["1 min 30 s", "1 h", "1 h 30 min", "1 d 1 h"]);
});

test("causes are sentences; an unknown one is still readable", () => {
  const at = "2026-01-31T08:15:03.000Z";
  assert.equal(cause_in_words({ cause: "silence", at, evidence: { last_seen: "2026-01-31T08:15:00.000Z" } }), "no heartbeat for 3 s");
  assert.equal(cause_in_words({ cause: "silence", at }), "no heartbeat until its deadline");
  assert.match(cause_in_words({ cause: "blind", at }), /Rollcall itself/);
  assert.equal(cause_in_words({ cause: "moved_shard", at }), "moved shard");
});

test("what is not known is left empty", () => {
  assert.deepEqual([place(NaN, NaN, 4), measure(NaN, "km/h"), place(51.5, -0.1, 4), measure(61.6, "km/h")], ["", "", "51.5000, -0.1000", "62 km/h"]);
});

test("what the test heartbeats prove is said in words", () => {
  const said = (state, lag_ms) => canary_words({ state, board: lag_ms === undefined ? null : { lag_ms } });
  assert.deepEqual([said("well", 93), said("well", 1_250), said("well"), said("off"), canary_words(null)], [
    "Test heartbeats come through in 93 ms", "Test heartbeats come through in 1.3 s", "", "", "",
  ]);
  assert.match(said("refused"), /refuses/);
  for (const state of ["late", "resting", "something new"]) assert.match(said(state, 1), /do not come through/);
});

test("warnings of a vehicle are one line, and none is nothing", () => {
  const warning = (detail, count) => ({ customer: "acme", vehicle: "7", kind: "flooding", detail, count });
  assert.equal(warnings_in_words([]), "");
  assert.equal(warnings_in_words([warning("floods", 1), warning("doubles", 1234)]), "floods (1 time). doubles (1,234 times)");
});
