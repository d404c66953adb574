/** The counts over time: what the page saw and what was stored, as one line with gaps where nothing is known. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CountsLog, SERIES, joined, points_of, summary_of, table_of } from "../../web/js/counts-log.js";

const T = Date.UTC(2026, 0, 31);
const bucket = (minute, online, rest = {}) =>
  ({ at: new Date(T + minute * 60_000).toISOString(), online_avg: online, offline_avg: 1, unobserved_avg: 0, observed_s: 60, unobserved_s: 0, ...rest });

test("a pause of the connection is a gap in the line", () => {
  const log = new CountsLog();
  for (const s of [0, 1, 2, 60, 61]) log.add(T + s * 1_000, [10, 2, 1, 0]);
  const [times, online, offline, unobserved] = table_of(log.points, SERIES);
  assert.deepEqual(times.map((t) => t - T / 1_000), [0, 1, 2, 3, 60, 61]);
  assert.deepEqual(online, [10, 10, 10, null, 10, 10]);
  assert.deepEqual([offline[0], unobserved[0]], [2, 1]);
});

test("the same second twice, and a time that is none, change nothing", () => {
  const log = new CountsLog();
  for (const at of [T, T + 100, NaN, T - 5_000]) log.add(at, [1, 0, 0, 0]);
  assert.equal(log.points.length, 1);
});

test("a page that is open for days keeps an hour", () => {
  const log = new CountsLog();
  for (let s = 0; s < 10_000; s++) log.add(T + s * 1_000, [s, 0, 0, 0]);
  assert.equal(log.points.length, 3_600);
  assert.equal(log.points.at(-1).online, 9_999);
});

test("a bucket in which nobody listened says nothing", () => {
  const [known, deaf] = points_of([bucket(0, 5.5), bucket(1, 5.5, { observed_s: 0, unobserved_s: 60 })]);
  assert.deepEqual([known.online, known.offline, deaf.online, deaf.offline], [5.5, 1, null, null]);
});

test("stored minutes end where the page itself began to count", () => {
  const log = new CountsLog();
  for (const s of [90, 91]) log.add(T + s * 1_000, [7, 0, 0, 0]);
  const points = joined(points_of([bucket(-1, 3), bucket(0, 4), bucket(1, 5), bucket(2, 6)]), log.points, T / 1_000);
  assert.deepEqual(points.map(({ online }) => online), [4, 5, 7, 7]);
});

test("the line in words", () => {
  assert.equal(summary_of([3, null, 9.6, 5]), "now 5, least 3, most 10");
  assert.equal(summary_of([null]), "not known yet");
});
