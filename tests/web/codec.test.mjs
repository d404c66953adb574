/** The binary decoder: every field comes through, and a truncated or wrong frame is an error, never a wrong view. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { WireError, announced_bytes, decode } from "../../web/js/codec.js";
import { LiveState } from "../../web/js/state.js";
import { encode } from "./wire.mjs";

const seed = Number(process.env.SEED ?? Date.now() % 1e9);
let random_state = seed;
const random = (below) => Math.floor(((random_state = (random_state * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31) * below);

const VEHICLES = [
  { slot: 0, customer: "acme", vehicle: "Zoë-1", name: "Łódź", status: "online", status_since: "2026-01-31T08:15:00.123Z", seq: 7, last_seen: "2026-01-31T08:15:01.456Z",
    position: { lat: 51.5073512, lon: -0.1277583, speed_kmh: 61.4, heading_deg: 359.9 }, battery_pct: 81, tags: ["reefer", "long haul"] },
  { slot: 3, customer: "globex", vehicle: "B", status: "never_seen", vin: "1HG" },
  { slot: 9, customer: "acme", vehicle: "C", status: "offline", status_since: "2026-01-31T08:15:00.000Z", seq: 2, last_seen: "2026-01-30T00:00:00.000Z", position: null },
];

test("a snapshot brings every field", () => {
  const frame = decode(encode("snapshot", VEHICLES, { version: 42, server_ms: 1_769_847_300_000, epoch: "e-7" }));
  assert.deepEqual([frame.type, frame.count, frame.version, frame.server_ms, frame.epoch], ["snapshot", 3, 42, 1_769_847_300_000, "e-7"]);
  assert.deepEqual([...frame.slot], [0, 3, 9]);
  assert.deepEqual([frame.customers, [...frame.customer]], [["acme", "globex"], [0, 1, 0]]);
  assert.deepEqual([frame.vehicle, frame.name, frame.registration, frame.vin], [["Zoë-1", "B", "C"], ["Łódź", "", ""], [], ["", "1HG", ""]]);
  assert.deepEqual(frame.tags, ["reefer\u001flong haul", "", ""]);
  assert.deepEqual([...frame.status], [1, 0, 2]);
  assert.deepEqual([...frame.last_seen], [Date.parse("2026-01-31T08:15:01.456Z"), NaN, Date.parse("2026-01-30T00:00:00.000Z")]);
  assert.deepEqual([frame.lat[0], frame.lon[0], frame.lat[1], frame.speed[0], frame.heading[0], frame.battery[0]], [515073512, -1277583, -(2 ** 31), 614, 3599, 81]);
});

test("the other frames bring theirs", () => {
  assert.deepEqual([...decode(encode("left", VEHICLES, { from: 4, version: 5 })).slot], [0, 3, 9]);
  const turned = decode(encode("turned", VEHICLES, { from: 4, version: 5 }));
  assert.deepEqual([turned.from, turned.version, [...turned.seq], [...turned.status]], [4, 5, [7, 0, 2], [1, 0, 2]]);
  assert.deepEqual([...decode(encode("heard", VEHICLES)).battery], [81, 255, 255]);
  assert.deepEqual(decode(encode("joined", [])).vehicle, []);
  const transition = { slot: 3, seq: 8, from: "online", to: "offline", at: "2026-01-31T08:15:00.000Z", decided_at: "2026-01-31T08:15:00.002Z", cause: "silence" };
  const { slot, old, to, cause } = decode(encode("transitions", [transition]));
  assert.deepEqual([slot[0], old[0], to[0], cause[0]], [3, 1, 2, 1]);
});

test("the length of a snapshot is told by its first bytes", () => {
  const bytes = new Uint8Array(encode("snapshot", VEHICLES));
  assert.equal(announced_bytes(bytes.subarray(0, 40)), bytes.length);
  assert.equal(announced_bytes(bytes.subarray(0, 31)), 0);
});

test("a kind of tomorrow is left out, a format of tomorrow is refused", () => {
  const frame = encode("heard", VEHICLES);
  new Uint8Array(frame)[0] = 77;
  assert.equal(decode(frame), null);
  new Uint8Array(frame)[1] = 2;
  assert.throws(() => decode(frame), /format 2: reload the page/);
});

const FRAMES = ["snapshot", "joined", "left", "turned", "heard", "transitions"];

test("cut anywhere, or with bytes too many, every frame is an error", () => {
  for (const type of FRAMES) {
    const frame = encode(type, VEHICLES);
    for (let length = 0; length < frame.byteLength; length++) {
      assert.throws(() => decode(frame.slice(0, length)), WireError, `${type} cut to ${length}`);
      // A liar's header that agrees with the cut length.
      const liar = frame.slice(0, length);
      if (length >= 32) new DataView(liar).setUint32(24, length - 32, true);
      assert.throws(() => decode(liar), WireError, `${type} cut to ${length}, and lied about`);
    }
    const longer = new Uint8Array(frame.byteLength + 4);
    longer.set(new Uint8Array(frame));
    assert.throws(() => decode(longer.buffer), WireError);
    new DataView(longer.buffer).setUint32(24, longer.length - 32, true);
    assert.throws(() => decode(longer.buffer), WireError);
  }
});

test("counts, lengths and slots beyond all reason are errors and cost no memory", () => {
  const wrong = (type, at, value) => {
    const frame = encode(type, VEHICLES);
    new DataView(frame).setUint32(at, value, true);
    return () => decode(frame);
  };
  for (const type of FRAMES) {
    for (const count of [0, 2, 4, 0x7fffffff, 0xffffffff]) assert.throws(wrong(type, 4, count), WireError, `${type} with ${count} rows`);
  }
  assert.throws(wrong("left", 32, 0xfffffff0), /slot/);
});

test(`frames with wrong bytes are errors, or whole frames; what they leave can be drawn (seed ${seed})`, () => {
  let refused = 0;
  for (let round = 0; round < 4_000; round++) {
    const state = new LiveState();
    state.apply(decode(encode("snapshot", VEHICLES, { version: 1 })), 0);
    const bytes = new Uint8Array(encode(FRAMES[random(FRAMES.length)], VEHICLES, { from: 1, version: 2 }));
    for (let flips = 1 + random(4); flips > 0; flips--) bytes[random(bytes.length)] = random(256);
    let frame;
    try {
      frame = decode(bytes.buffer);
    } catch (error) {
      assert.ok(error instanceof WireError, `${error.stack}`);
      refused += 1;
      continue;
    }
    if (frame === null || frame.slot.some((slot) => slot > 100_000)) continue; // allowed, but slow to make room for
    const { resync } = state.apply(frame, 0);
    if (resync !== null) refused += 1;
    const { fleet } = state;
    assert.equal(fleet.slots().length, fleet.size);
    assert.equal(fleet.tally.reduce((sum, each) => sum + each), fleet.size);
    for (const slot of fleet.named_order()) assert.equal(typeof fleet.key_of(slot), "string");
  }
  assert.ok(refused > 500, `${refused} refused`);
});
