/** The way of a vehicle: which places there are, and which lines between them are a guess. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { GUESS_AFTER_MS, PLACES_MAX, Trail, lines_of } from "../../web/js/trail.js";

const T = Date.UTC(2026, 0, 31);
const MINUTE = 60_000;
const told = (minute, lat, lon, rest = {}) => ({ at: new Date(T + minute * MINUTE).toISOString(), lat, lon, ...rest });
const heard = (minute, lat, lon) => ({ at: T + minute * MINUTE, lat, lon, speed_kmh: null });
const minutes = (trail) => trail.places.map(({ at }) => (at - T) / MINUTE);
const drawn = (...places) => lines_of(places).map(({ properties: { kind }, geometry: { coordinates } }) => [kind, coordinates.map(([lon]) => lon)]);

test("kept places come newest first and stand oldest first; beats without a place are none; what was heard meanwhile follows", () => {
  const trail = new Trail();
  trail.hear(heard(9, 1, 9));
  trail.begin([told(5, 1, 5, { speed_kmh: 40 }), told(4, null, null), told(3, 1, 3)]);
  assert.deepEqual(minutes(trail), [3, 5, 9]);
  assert.deepEqual(trail.places.map(({ speed_kmh }) => speed_kmh), [null, 40, null]);
});

test("a vehicle that stands, or whose place is older than the newest or unknown, adds nothing", () => {
  const trail = new Trail();
  for (const place of [heard(1, 1, 1), heard(2, 1, 1), heard(1, 5, 5), heard(3, NaN, NaN), heard(4, 1, 2)]) trail.hear(place);
  assert.deepEqual(minutes(trail), [1, 4]);
});

test("a page that stays open keeps a bounded trail: the oldest go", () => {
  const trail = new Trail();
  for (let at = 0; at < PLACES_MAX + 10; at++) trail.hear(heard(at, 1, at / 100));
  assert.equal(trail.places.length, PLACES_MAX);
  assert.equal(minutes(trail)[0], 10);
});

test("each change is counted, so that a map draws it once", () => {
  const trail = new Trail();
  trail.begin([]);
  const { version } = trail;
  trail.hear(heard(1, 1, 1));
  trail.hear(heard(2, 1, 1));
  assert.equal(trail.version, version + 1);
});

test("no line without two places", () => {
  assert.deepEqual([drawn(), drawn(heard(0, 1, 1))], [[], []]);
});

test("across a silence the way is a guess, unless it stood there", () => {
  const silence = GUESS_AFTER_MS / MINUTE + 1;
  assert.deepEqual(drawn(heard(0, 1, 1), heard(1, 1, 2), heard(1 + silence, 1, 5), heard(2 + silence, 1, 6)), [
    ["way", [1, 2]], ["guess", [2, 5]], ["way", [5, 6]]]);
  assert.deepEqual(drawn(heard(0, 1, 1), heard(silence, 1.001, 1.001), heard(silence + 1, 1, 2)), [["way", [1, 1.001, 2]]]);
});

test("over the date line it goes on, not around the Earth", () => {
  assert.deepEqual(drawn(heard(0, 1, 179), heard(1, 1, -179), heard(2, 1, 178)), [["way", [179, 181, 178]]]);
});
