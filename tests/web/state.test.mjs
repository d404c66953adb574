/** The pure state of the dashboard: frames in, fleet out. Feeds web/js/state.js the frames of the protocol. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decode } from "../../web/js/codec.js";
import { mercator_x, mercator_y } from "../../web/js/columns.js";
import { LiveState } from "../../web/js/state.js";
import { STATUSES } from "../../web/js/fleet.js";
import { encode } from "./wire.mjs";

const NOW = 1_000;
const SERVER_TIME = "2026-01-31T08:15:00.000Z";
const hello = (version = 1, epoch = "e1") => ({ type: "hello", epoch, version, tick_ms: 250, server_time: SERVER_TIME });
const snapshot = (rows, { version = 1, epoch = "e1" } = {}) => decode(encode("snapshot", rows, { version, epoch, server_ms: Date.parse(SERVER_TIME) }));
const delta = (type, from, version, rows, frames = 0) => decode(encode(type, rows, { from, version, frames }));
/** The slot is the number. */
const truck = (number, status = "online", rest = {}) => ({ slot: number, customer: "acme", vehicle: `TRK-${number}`, status, seq: 1, ...rest });

function loaded(...vehicles) {
  const state = new LiveState();
  state.apply(hello(), NOW);
  state.apply(snapshot(vehicles), NOW);
  return state;
}

const status_of = (state, key) => STATUSES[state.fleet.status[state.fleet.find(key)]];
const keys = ({ fleet }) => fleet.slots().map((slot) => fleet.key_of(slot));

test("a snapshot is applied as one, and acknowledged", () => {
  const state = new LiveState();
  state.apply(hello(7), NOW);
  const { ack, replaced } = state.apply(snapshot([truck(1), truck(2)], { version: 7 }), NOW);
  assert.deepEqual([ack, replaced, state.fleet.size, state.loaded], [7, true, 2, true]);
  assert.deepEqual(state.resume_point(), { type: "resume", epoch: "e1", version: 7 });
});

test("an empty fleet is a loaded fleet", () => {
  const state = loaded();
  assert.equal(state.loaded, true);
  assert.equal(state.fleet.size, 0);
});

test("a snapshot replaces: what is not in it is gone", () => {
  const state = loaded(truck(1), truck(2));
  state.apply(snapshot([truck(2)], { version: 5 }), NOW);
  assert.deepEqual(keys(state), ["acme/TRK-2"]);
  assert.deepEqual(state.fleet.tally, [1, 0, 0, 0]);
});

test("a delta changes only the fields it carries", () => {
  const state = loaded(truck(1, "online", { battery_pct: 80, position: { lat: 1, lon: 2 } }));
  const { ack } = state.apply(delta("turned", 1, 2, [truck(1, "offline")]), NOW);
  const slot = state.fleet.find("acme/TRK-1");
  assert.equal(ack, 2);
  assert.equal(status_of(state, "acme/TRK-1"), "offline");
  assert.deepEqual([state.fleet.battery_of(slot), state.fleet.lat_of(slot)], [80, 1]);
  state.apply(delta("heard", 2, 3, [{ slot: 1, last_seen: SERVER_TIME, position: { lat: -3.5, lon: 4, speed_kmh: 61.4 } }]), NOW);
  assert.deepEqual([state.fleet.battery_of(slot), state.fleet.lat_of(slot), state.fleet.speed_of(slot)], [NaN, -3.5, 61.4]);
  assert.equal(state.fleet.last_seen[slot], Date.parse(SERVER_TIME));
  assert.equal(status_of(state, "acme/TRK-1"), "offline");
});

test("places are projected for the map: the world is 2^32 wide, and its edges still fit", () => {
  const state = loaded(truck(0, "online", { position: { lat: 0, lon: 0 } }), truck(1, "online", { position: { lat: 85.051128779, lon: 180 } }), truck(2, "online", { position: { lat: -90, lon: -180 } }), truck(3));
  const { x, y, hasPosition } = state.fleet;
  assert.deepEqual([...hasPosition.subarray(0, 4)], [1, 1, 1, 0]);
  assert.deepEqual([x[0], y[0] + 0, x[1], x[2]], [0, 0, 2 ** 31 - 1, -(2 ** 31)]);
  assert.ok(y[1] < -(2 ** 31) + 100 && y[2] > 2 ** 31 - 100, `${y[1]} ${y[2]}`);
  assert.deepEqual([mercator_x(90), Math.round(mercator_y(45))], [2 ** 30, -602_476_379]);
});

test("a delta adds and removes vehicles, and the tally follows", () => {
  const state = loaded(truck(1), truck(2, "never_seen"));
  state.apply(delta("left", 1, 1, [truck(1), truck(77)]), NOW);
  assert.equal(state.apply(delta("joined", 1, 2, [truck(3, "unobserved")]), NOW).ack, 2);
  assert.deepEqual(state.fleet.tally, [0, 0, 1, 1]);
  assert.equal(state.fleet.size, 2);
  assert.deepEqual(keys(state), ["acme/TRK-2", "acme/TRK-3"]);
});

test("a vehicle that left and came back within one delta is there, in another slot", () => {
  const state = loaded(truck(1, "online", { battery_pct: 80 }));
  state.apply(delta("left", 1, 1, [truck(1)]), NOW);
  state.apply(delta("joined", 1, 2, [{ ...truck(1, "never_seen"), slot: 8 }]), NOW);
  assert.deepEqual([state.fleet.size, status_of(state, "acme/TRK-1"), state.fleet.find("acme/TRK-1")], [1, "never_seen", 8]);
  assert.equal(state.fleet.battery_of(8), NaN);
});

test("names that changed come as a whole row in the same slot", () => {
  const state = loaded(truck(1), truck(2));
  state.apply(delta("joined", 1, 2, [truck(1, "offline", { name: "Night Van", tags: ["reefer", "ev"] })]), NOW);
  assert.deepEqual([state.fleet.size, state.fleet.name[1], state.fleet.tags_of(1), state.fleet.tags_of(2)], [2, "Night Van", ["reefer", "ev"], []]);
  assert.deepEqual(state.fleet.tally, [1, 1, 0, 0]);
});

test("a delta that starts after our version is refused, and the next socket asks for everything", () => {
  const state = loaded(truck(1));
  const outcome = state.apply(delta("turned", 4, 5, [truck(1, "offline")]), NOW);
  assert.equal(outcome.ack, null);
  assert.match(outcome.resync, /from version 4/);
  assert.equal(status_of(state, "acme/TRK-1"), "online");
  assert.equal(state.resume_point(), null);
});

test("news of a vehicle that is not here means that something was missed; nothing of it is applied", () => {
  const state = loaded(truck(1), truck(2));
  for (const [type, rows] of [["turned", [truck(1, "offline"), truck(3, "offline")]], ["heard", [truck(1), truck(500)]]]) {
    assert.match(state.apply(delta(type, 1, 2, rows), NOW).resync ?? "", /not known/, type);
    assert.deepEqual([state.resume_point(), status_of(state, "acme/TRK-1")], [null, "online"]);
    state.apply(snapshot([truck(1), truck(2)]), NOW);
  }
});

test("a delta in several frames: only the last brings the new version, and is acknowledged", () => {
  const state = loaded(truck(1), truck(2));
  assert.equal(state.apply(delta("turned", 1, 1, [truck(1, "offline")]), NOW).ack, null);
  assert.equal(status_of(state, "acme/TRK-1"), "offline");
  assert.equal(state.resume_point().version, 1);
  assert.equal(state.apply(delta("turned", 1, 3, [truck(2, "offline")]), NOW).ack, 3);
});

test("a delta of which a frame was lost on the way is refused; what was begun before a new connection or snapshot is void", () => {
  const parts = (state, ...kept) => {
    const all = [delta("joined", 1, 1, [truck(5)]), delta("turned", 1, 1, [truck(1, "offline")]), delta("heard", 1, 2, [{ slot: 1 }], 3)];
    return kept.map((at) => state.apply(all[at], NOW)).at(-1);
  };
  assert.equal(parts(loaded(truck(1)), 0, 1, 2).ack, 2);
  for (const kept of [[1, 2], [0, 2], [2]]) {
    const state = loaded(truck(1));
    assert.ok(parts(state, ...kept).resync, kept.join());
    assert.equal(state.resume_point(), null);
  }
  const again = loaded(truck(1));
  parts(again, 0);
  again.apply(hello(), NOW);
  assert.equal(parts(again, 0, 1, 2).ack, 2);
  parts(again, 1);
  again.apply(snapshot([truck(1)], { version: 1 }), NOW);
  assert.equal(parts(again, 0, 1, 2).ack, 2);
});

test("a delta that starts before our version is applied: it carries newest states", () => {
  const state = loaded(truck(1), truck(2));
  state.apply(delta("heard", 1, 20, []), NOW);
  state.apply(delta("turned", 10, 10, [truck(1, "offline")]), NOW);
  assert.equal(status_of(state, "acme/TRK-1"), "offline");
  assert.equal(state.resume_point().version, 20, "never backwards");
  assert.equal(state.apply(delta("turned", 10, 25, [truck(2, "offline")]), NOW).ack, 25);
});

test("after a loss it resumes from its version and says how much changed meanwhile", () => {
  const state = loaded(truck(1), truck(2), truck(3));
  state.lost();
  assert.deepEqual(state.resume_point(), { type: "resume", epoch: "e1", version: 1 });
  state.apply(hello(9), NOW);
  state.apply(delta("left", 1, 1, [truck(3)]), 1_500);
  state.apply(delta("turned", 1, 1, [truck(1, "offline")]), 1_500);
  assert.equal(state.caught_up, null);
  state.apply(delta("heard", 1, 9, [truck(2)]), 2_000);
  assert.deepEqual(state.caught_up, { changes: 2, at: 2_000 });
});

test("after a loss with nothing missed it is up to date with the greeting", () => {
  const state = loaded(truck(1));
  state.lost();
  state.apply(hello(1), NOW);
  assert.deepEqual(state.caught_up, { changes: 0, at: NOW });
});

test("another epoch voids the version; the snapshot is compared with what was in sight, whatever the slots", () => {
  const state = loaded(truck(1), truck(2), truck(3), truck(4));
  state.lost();
  state.apply(hello(1, "e2"), NOW);
  assert.equal(state.resume_point(), null);
  assert.equal(state.fleet.size, 4, "the old fleet stays in sight");
  // 1 the same, 2 offline, 3 there and back (its seq says so), 4 gone, 5 new
  const rows = [truck(1), truck(2, "offline"), truck(3, "online", { seq: 3 }), truck(5)].map((row) => ({ ...row, slot: 9 - row.slot }));
  state.apply(snapshot(rows, { epoch: "e2" }), NOW);
  assert.equal(state.caught_up.changes, 4);
});

test("a service that refuses our place makes us begin anew; one that has not heard it yet does not", () => {
  const state = loaded(truck(1));
  state.apply({ type: "resync", refused: false }, NOW);
  assert.equal(state.resume_point().version, 1);
  state.apply({ type: "resync", refused: true }, NOW);
  assert.equal(state.resume_point(), null);
  assert.deepEqual([state.fleet.size, state.loaded], [1, true], "until then the old fleet stays in sight");
});

test("the page brings counts and first rows; the snapshot replaces them", () => {
  const state = new LiveState();
  const counts = { online: 90, offline: 9, unobserved: 1, never_seen: 0 };
  const tally = { online: 20, offline: 5, unobserved: 0, never_seen: 0 };
  const items = [truck(1, "offline", { position: { lat: 51.5, lon: -0.12, speed_kmh: 42 } }), { ...truck(2, "offline"), customer: "globex" }];
  state.begin({ server_time: SERVER_TIME, counts, tally, total: 5, items }, NOW);
  assert.deepEqual([state.loaded, state.server_tally, state.first], [false, [90, 9, 1, 0], { tally: [20, 5, 0, 0], found: 5 }]);
  assert.deepEqual(keys(state), ["acme/TRK-1", "globex/TRK-2"]);
  assert.deepEqual([status_of(state, "acme/TRK-1"), state.fleet.speed_of(0), state.fleet.battery_of(0)], ["offline", 42, NaN]);
  assert.equal(state.server_now(NOW), Date.parse(SERVER_TIME));
  assert.equal(state.resume_point(), null);
  state.apply(snapshot([truck(1)]), NOW);
  assert.deepEqual([state.loaded, state.first, state.fleet.size], [true, null, 1]);
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
  const transition = { seq: 2, from: "online", to: "offline", at: SERVER_TIME, decided_at: SERVER_TIME, cause: "silence" };
  const { transitions } = state.apply(decode(encode("transitions", [{ slot: 1, ...transition }, { slot: 0xffffffff, ...transition }])), NOW);
  assert.deepEqual(transitions, [{ customer: "acme", vehicle: "TRK-1", ...transition }], "one that has left is left out");
  state.apply({ type: "counts", version: 1, online: 4, offline: 3, unobserved: 2, never_seen: 1 }, NOW);
  assert.deepEqual(state.server_tally, [4, 3, 2, 1]);
  assert.equal(state.apply({ type: "of tomorrow" }, NOW).ack, null);
});

test("an unknown status counts as unobserved, never as offline", () => {
  assert.equal(status_of(loaded(truck(1, "asleep")), "acme/TRK-1"), "unobserved");
});

test("columns grow past their first capacity and keep their values", () => {
  const state = loaded();
  for (let from = 0; from < 5_000; from += 500) {
    const rows = Array.from({ length: 500 }, (_, i) => truck(from + i, "online", { battery_pct: (from + i) % 100 }));
    state.apply(delta("joined", 1, 1, rows), NOW);
  }
  assert.equal(state.fleet.size, 5_000);
  assert.equal(state.fleet.battery_of(4_321), 21);
  assert.equal(state.fleet.hasPosition[4_321], 0);
  assert.equal(state.fleet.customer_of(4_321), "acme");
});

test("random histories: the columns equal a plain map of objects", () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1e9);
  let random_state = seed;
  const random = (below) => (random_state = (random_state * 1_103_515_245 + 12_345) % 2 ** 31) % below;
  const state = loaded();
  const model = new Map();
  let next_slot = 0;
  for (let version = 2; version < 400; version++) {
    const joined = Array.from({ length: random(3) }, () => truck(next_slot++, STATUSES[random(4)]));
    const present = [...model.keys()];
    const some = present.filter(() => random(4) === 0);
    const left = some.filter(() => random(3) === 0);
    const turned = some.filter((slot) => !left.includes(slot)).map((slot) => truck(slot, STATUSES[random(4)]));
    for (const { slot, status } of [...joined, ...turned]) model.set(slot, status);
    for (const slot of left) model.delete(slot);
    state.apply(delta("left", version - 1, version - 1, left.map((slot) => truck(slot))), NOW);
    state.apply(delta("joined", version - 1, version - 1, joined), NOW);
    assert.equal(state.apply(delta("turned", version - 1, version, turned), NOW).ack, version, `seed ${seed}`);
  }
  const { fleet } = state;
  const seen = new Map(fleet.slots().map((slot) => [slot, STATUSES[fleet.status[slot]]]));
  assert.deepEqual([...seen].sort(), [...model].sort(), `seed ${seed}`);
  assert.deepEqual(fleet.tally, STATUSES.map((status) => [...model.values()].filter((each) => each === status).length), `seed ${seed}`);
});
