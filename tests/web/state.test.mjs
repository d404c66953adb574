/** The pure state of the dashboard: frames in, fleet out. Feeds web/js/state.js the frames of the contract. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LiveState } from "../../web/js/state.js";
import { Fleet, STATUSES } from "../../web/js/fleet.js";

const NOW = 1_000;
const hello = (version = 1, epoch = "e1") => ({ type: "hello", epoch, version, tick_ms: 250, server_time: "2026-01-31T08:15:00.000Z" });
const snapshot = (vehicles, { version = 1, part = 0, parts = 1 } = {}) => ({ type: "snapshot", version, part, parts, vehicles });
const delta = (from, version, changed = [], removed = []) => ({ type: "delta", from, version, changed, removed });
const truck = (number, status = "online", rest = {}) => ({ customer: "acme", vehicle: `TRK-${number}`, status, seq: 1, ...rest });

function loaded(...vehicles) {
  const state = new LiveState();
  state.apply(hello(), NOW);
  state.apply(snapshot(vehicles), NOW);
  return state;
}

const status_of = (state, key) => STATUSES[state.fleet.status[state.fleet.slots.get(key)]];

test("parts of a snapshot add up, show early on first load, and only the last is acknowledged", () => {
  const state = new LiveState();
  state.apply(hello(7), NOW);
  const first = state.apply(snapshot([truck(1)], { version: 7, part: 0, parts: 2 }), NOW);
  assert.deepEqual([first.ack, first.replaced, state.fleet.count, state.loaded], [null, true, 1, false]);
  const last = state.apply(snapshot([truck(2)], { version: 7, part: 1, parts: 2 }), NOW);
  assert.deepEqual([last.ack, state.fleet.count, state.loaded], [7, 2, true]);
});

test("an empty fleet is a loaded fleet", () => {
  const state = loaded();
  assert.equal(state.loaded, true);
  assert.equal(state.fleet.count, 0);
});

test("a snapshot replaces: what is not in it is gone", () => {
  const state = loaded(truck(1), truck(2));
  state.apply(snapshot([truck(2)], { version: 5 }), NOW);
  assert.deepEqual([...state.fleet.slots.keys()], ["acme/TRK-2"]);
  assert.deepEqual(state.fleet.tally, [1, 0, 0, 0]);
});

test("on a later snapshot the old fleet stays in sight until the new one is whole", () => {
  const state = loaded(truck(1), truck(2));
  state.apply(snapshot([truck(3)], { version: 5, part: 0, parts: 2 }), NOW);
  assert.equal(state.fleet.count, 2);
  assert.equal(state.resume_point().version, 1, "what is in sight is still whole");
});

test("a delta changes only the fields it carries", () => {
  const state = loaded(truck(1, "online", { battery_pct: 80, position: { lat: 1, lon: 2, at: null } }));
  const { ack } = state.apply(delta(1, 2, [truck(1, "offline")]), NOW);
  const slot = state.fleet.slots.get("acme/TRK-1");
  assert.equal(ack, 2);
  assert.equal(status_of(state, "acme/TRK-1"), "offline");
  assert.deepEqual([state.fleet.number.battery_pct[slot], state.fleet.number.lat[slot]], [80, 1]);
  state.apply(delta(2, 3, [{ customer: "acme", vehicle: "TRK-1", battery_pct: null, position: null }]), NOW);
  assert.deepEqual([state.fleet.number.battery_pct[slot], state.fleet.number.lat[slot]], [NaN, NaN]);
});

test("a delta adds and removes vehicles, and the tally follows", () => {
  const state = loaded(truck(1), truck(2, "never_seen"));
  state.apply(delta(1, 2, [truck(3, "unobserved")], [{ customer: "acme", vehicle: "TRK-1" }, { customer: "acme", vehicle: "none" }]), NOW);
  assert.deepEqual(state.fleet.tally, [0, 0, 1, 1]);
  assert.equal(state.fleet.count, 2);
});

test("a vehicle that left and came back within one delta is there", () => {
  const state = loaded(truck(1, "online", { battery_pct: 80 }));
  state.apply(delta(1, 2, [truck(1, "never_seen")], [{ customer: "acme", vehicle: "TRK-1" }]), NOW);
  assert.deepEqual([state.fleet.count, status_of(state, "acme/TRK-1")], [1, "never_seen"]);
  assert.equal(state.fleet.number.battery_pct[state.fleet.slots.get("acme/TRK-1")], NaN);
});

test("a delta that starts after our version is refused, and the next socket asks for everything", () => {
  const state = loaded(truck(1));
  const outcome = state.apply(delta(4, 5, [truck(1, "offline")]), NOW);
  assert.equal(outcome.ack, null);
  assert.match(outcome.resync, /from version 4/);
  assert.equal(status_of(state, "acme/TRK-1"), "online");
  assert.equal(state.resume_point(), null);
});

test("a delta in several frames: only the last brings the new version, and is acknowledged", () => {
  const state = loaded(truck(1), truck(2));
  assert.equal(state.apply(delta(1, 1, [truck(1, "offline")]), NOW).ack, null);
  assert.equal(status_of(state, "acme/TRK-1"), "offline");
  assert.equal(state.resume_point().version, 1);
  assert.equal(state.apply(delta(1, 3, [truck(2, "offline")]), NOW).ack, 3);
});

test("a delta that starts before our version is applied: it carries newest states", () => {
  const state = loaded(truck(1), truck(2));
  state.apply(delta(1, 20, []), NOW);
  state.apply(delta(10, 10, [truck(1, "offline")]), NOW);
  assert.equal(status_of(state, "acme/TRK-1"), "offline");
  assert.equal(state.resume_point().version, 20, "never backwards");
  assert.equal(state.apply(delta(10, 25, [truck(2, "offline")]), NOW).ack, 25);
});

test("a snapshot begun anew does not count the parts of the first try", () => {
  const state = new LiveState();
  state.apply(hello(), NOW);
  for (const part of [1, 2, 1]) state.apply(snapshot([truck(part)], { part, parts: 3 }), NOW);
  assert.equal(state.loaded, false);
  for (const part of [2, 3]) state.apply(snapshot([truck(part)], { part, parts: 3 }), NOW);
  assert.deepEqual([state.loaded, state.fleet.count], [true, 3]);
});

test("a resume that reached the server late: it leaves its snapshot and goes on from our version", () => {
  const state = loaded(truck(1), truck(2));
  state.lost();
  state.apply(hello(5), NOW);
  state.apply(snapshot([truck(1)], { version: 5, part: 1, parts: 2 }), NOW);
  assert.equal(state.apply(delta(1, 5, [truck(2, "offline")]), NOW).ack, 5);
  assert.deepEqual([state.fleet.count, state.incoming], [2, null]);
  assert.equal(state.caught_up.changes, 1);
});

test("after a loss it resumes from its version and says how much changed meanwhile", () => {
  const state = loaded(truck(1), truck(2), truck(3));
  state.lost();
  assert.deepEqual(state.resume_point(), { type: "resume", epoch: "e1", version: 1 });
  state.apply(hello(9), NOW);
  state.apply(delta(1, 1, [truck(1, "offline")]), 1_500);
  assert.equal(state.caught_up, null);
  state.apply(delta(1, 9, [{ customer: "acme", vehicle: "TRK-2", battery_pct: 5 }], [{ customer: "acme", vehicle: "TRK-3" }]), 2_000);
  assert.deepEqual(state.caught_up, { changes: 2, at: 2_000 });
});

test("after a loss with nothing missed it is up to date with the greeting", () => {
  const state = loaded(truck(1));
  state.lost();
  state.apply(hello(1), NOW);
  assert.deepEqual(state.caught_up, { changes: 0, at: NOW });
});

test("another epoch voids the version; the snapshot is compared with what was in sight", () => {
  const state = loaded(truck(1), truck(2), truck(3), truck(4));
  state.lost();
  state.apply(hello(1, "e2"), NOW);
  assert.equal(state.resume_point(), null);
  // 1 the same, 2 offline, 3 there and back (its seq says so), 4 gone, 5 new
  state.apply(snapshot([truck(1), truck(2, "offline"), truck(3, "online", { seq: 3 }), truck(5)]), NOW);
  assert.equal(state.caught_up.changes, 4);
});

test("half a snapshot is thrown away when the socket is lost", () => {
  const state = new LiveState();
  state.apply(hello(), NOW);
  state.apply(snapshot([truck(1)], { part: 0, parts: 2 }), NOW);
  state.lost();
  state.apply(hello(), NOW);
  state.apply(snapshot([truck(1)], { part: 0, parts: 2 }), NOW);
  assert.equal(state.loaded, false);
  state.apply(snapshot([truck(2)], { part: 1, parts: 2 }), NOW);
  assert.equal(state.fleet.count, 2);
});

test("time is the server's, whatever the browser's clock says", () => {
  const state = loaded();
  assert.equal(state.server_now(NOW + 2_500), Date.parse("2026-01-31T08:15:02.500Z"));
  state.apply({ type: "counts", online: 0, offline: 0, unobserved: 0, never_seen: 0, server_time: "2026-01-31T09:00:00.000Z" }, 5_000);
  assert.equal(state.server_now(5_000), Date.parse("2026-01-31T09:00:00.000Z"));
});

test("blindness, gaps, transitions, counts and unknown frames", () => {
  const state = loaded(truck(1));
  state.apply({ type: "observation", listening: false, since: "2026-01-31T08:15:00.000Z", cause: "broker_link" }, NOW);
  assert.equal(state.observation.listening, false);
  assert.equal(state.apply({ type: "gap", dropped: 3 }, NOW).gap, true);
  const transition = { type: "transition", customer: "acme", vehicle: "TRK-1", seq: 2, from: "online", to: "offline", at: "", cause: "silence" };
  assert.deepEqual(state.apply(transition, NOW).transitions, [transition]);
  state.apply({ type: "counts", version: 1, online: 4, offline: 3, unobserved: 2, never_seen: 1 }, NOW);
  assert.deepEqual(state.server_tally, [4, 3, 2, 1]);
  assert.equal(state.apply({ type: "of tomorrow" }, NOW).ack, null);
});

test("an unknown status counts as unobserved, never as offline", () => {
  assert.equal(status_of(loaded(truck(1, "asleep")), "acme/TRK-1"), "unobserved");
});

test("columns grow past their first capacity and keep their values", () => {
  const fleet = new Fleet();
  for (let i = 0; i < 5_000; i++) fleet.put(truck(i, "online", { battery_pct: i % 100 }));
  assert.equal(fleet.count, 5_000);
  assert.equal(fleet.number.battery_pct[4_321], 21);
  assert.equal(Number.isNaN(fleet.number.lat[4_321]), true);
});

test("random histories: the columns equal a plain map of objects", () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1e9);
  let random_state = seed;
  const random = (below) => (random_state = (random_state * 1_103_515_245 + 12_345) % 2 ** 31) % below;
  const state = loaded();
  const model = new Map();
  for (let version = 2; version < 400; version++) {
    const changed = Array.from({ length: random(5) }, () => truck(random(60), STATUSES[random(4)]));
    const removed = Array.from({ length: random(3) }, () => truck(random(60))).filter((each) => !changed.some(({ vehicle }) => vehicle === each.vehicle));
    for (const row of changed) model.set(row.vehicle, row.status);
    for (const row of removed) model.delete(row.vehicle);
    state.apply(delta(version - 1, version, changed, removed), NOW);
  }
  const { fleet } = state;
  const seen = new Map([...fleet.slots.values()].map((slot) => [fleet.vehicle[slot], STATUSES[fleet.status[slot]]]));
  assert.deepEqual(seen, model, `seed ${seed}`);
  assert.deepEqual(fleet.tally, STATUSES.map((status) => [...model.values()].filter((each) => each === status).length), `seed ${seed}`);
});
