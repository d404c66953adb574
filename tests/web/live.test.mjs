/** The live connection with sockets, snapshots, clock and chance of our own: back-off, silence, resuming, acknowledging. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LiveLink } from "../../web/js/live.js";
import { Pace, pulse, retry_delay_ms } from "../../web/js/pulse.js";
import { encode } from "./wire.mjs";

class World {
  time = 0;
  timers = [];
  sockets = [];
  outcome = { ack: null, resync: null };
  resume = { type: "resume", epoch: "e", version: 3 };
  frames = [];
  progress = [];
  /** Fetches of a snapshot: each is answered by the test. */
  fetches = [];
  losses = 0;
  /** What a plain request at the socket's address is answered. */
  door = 400;
  link = new LiveLink("ws://test", {
    on_frame: (frame) => {
      this.frames.push(frame);
      if (frame.type === "snapshot") this.resume = { type: "resume", epoch: frame.epoch, version: frame.version };
      if (frame.type === "resync" && frame.refused) this.resume = null;
      return this.outcome;
    },
    on_progress: (received, total) => this.progress.push([received, total]),
    resume_point: () => this.resume,
    on_lost: () => { this.losses += 1; },
    on_change: () => {},
  }, {
    open_socket: () => this.#open(),
    fetch_snapshot: (signal, on_progress) => new Promise((answer, fail) => this.fetches.push({ signal, on_progress, answer, fail })),
    ask_door: async () => this.door,
    now: () => this.time,
    random: () => 0.5,
    set_timer: (run, ms) => {
      const timer = { run, at: this.time + ms };
      this.timers.push(timer);
      return timer;
    },
    clear_timer: (timer) => { this.timers = this.timers.filter((each) => each !== timer); },
  });

  #open() {
    const socket = { readyState: 1, sent: [], closed: false, send: (text) => socket.sent.push(JSON.parse(text)), close: () => { socket.closed = true; } };
    this.sockets.push(socket);
    return socket;
  }

  get socket() { return this.sockets.at(-1); }

  say(frame = { type: "counts" }) { this.socket.onmessage({ data: JSON.stringify(frame) }); }

  pass(ms) {
    for (const end = this.time + ms; ;) {
      const next = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) { this.time = end; return; }
      this.time = next.at;
      this.timers = this.timers.filter((each) => each !== next);
      next.run();
    }
  }
}

test("back-off doubles from half a second to fifteen, give or take a quarter", () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 9, 500].map((attempt) => retry_delay_ms(attempt, 0.5)), [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  assert.deepEqual([retry_delay_ms(0, 0), retry_delay_ms(0, 1), retry_delay_ms(9, 1)], [375, 625, 15_000]);
});

test("five seconds of silence are stale, fifteen are dead", () => {
  assert.deepEqual([0, 4_999, 5_000, 14_999, 15_000].map(pulse), ["well", "well", "stale", "stale", "dead"]);
});

test("a new socket first says where to resume, and every state reached is acknowledged", () => {
  const world = new World();
  world.link.connect();
  world.socket.onopen();
  world.outcome = { ack: 4, resync: null };
  world.say();
  assert.deepEqual(world.socket.sent, [{ type: "resume", epoch: "e", version: 3 }, { type: "ack", version: 4 }]);
});

test("a server that accepts and drops at once is asked ever more rarely", () => {
  const world = new World();
  world.link.connect();
  const delays = [];
  for (let i = 0; i < 6; i++) {
    world.say();
    world.socket.onclose();
    delays.push(world.link.link.retry_at - world.time);
    world.pass(delays.at(-1));
  }
  assert.deepEqual(delays, [500, 1_000, 2_000, 4_000, 8_000, 15_000]);
  assert.equal(world.sockets.length, 7);
});

test("a service that is away is asked for often in the first minute, then seldom; one that opens and drops is left alone longer each time", () => {
  const away = new World();
  away.link.connect();
  const delays = [];
  for (let time = 0; time < 120_000; time = away.time) {
    away.socket.onclose();
    delays.push(away.link.link.retry_at - away.time);
    away.pass(delays.at(-1));
  }
  assert.deepEqual(delays.slice(0, 4), [500, 1_000, 1_250, 1_250]);
  assert.equal(Math.max(...delays.slice(0, 48)), 1_250, "within two seconds of its return, jitter and all");
  assert.equal(delays.at(-1), 15_000);
  const drops = new World();
  drops.link.connect();
  const grown = [0, 1, 2, 3, 4].map(() => {
    drops.say();
    drops.socket.onclose();
    const delay = drops.link.link.retry_at - drops.time;
    drops.pass(delay);
    return delay;
  });
  assert.deepEqual(grown, [500, 1_000, 2_000, 4_000, 8_000]);
});

test("ten healthy seconds start the back-off over", () => {
  const world = new World();
  world.link.connect();
  for (let i = 0; i < 4; i++) { world.socket.onclose(); world.link.poke(); }
  world.say();
  for (let second = 0; second < 10; second++) { world.pass(1_000); world.say(); }
  world.socket.onclose();
  assert.equal(world.link.link.retry_at - world.time, 500);
});

test("a silent socket is given up after fifteen seconds, without waiting for its close", () => {
  const world = new World();
  world.link.connect();
  world.say();
  world.pass(14_000);
  assert.equal(world.socket.closed, false);
  world.pass(1_500);
  assert.equal(world.sockets[0].closed, true);
  assert.equal(world.losses, 1);
  world.sockets[0].onclose(); // the late close of the old socket changes nothing
  world.pass(1_000);
  assert.equal(world.sockets.length, 2);
});

test("a connection that never opens is given up as well", () => {
  const world = new World();
  world.link.connect();
  world.pass(16_000);
  assert.equal(world.sockets.length, 2);
});

test("a frame of a socket already given up is not applied", () => {
  const world = new World();
  world.link.connect();
  const old = world.socket;
  old.onclose();
  world.pass(600);
  world.outcome = { ack: 9, resync: null };
  old.onmessage({ data: "{}" });
  assert.deepEqual(old.sent, []);
  assert.equal(world.link.link.phase, "connecting");
});

test("back online, looked at again, or asked by the user: at once", () => {
  const world = new World();
  world.link.connect();
  world.socket.onclose();
  world.link.poke();
  assert.equal(world.sockets.length, 2);
  world.pass(600);
  assert.equal(world.sockets.length, 2, "the waiting attempt is not made twice");
  world.say();
  world.link.poke();
  assert.equal(world.sockets.length, 2, "a healthy socket is left alone");
});

test("a copy that can no longer be trusted is fetched anew on a new socket", () => {
  const world = new World();
  world.link.connect();
  world.outcome = { ack: null, resync: "a hole" };
  world.say({ type: "delta" });
  assert.equal(world.sockets[0].closed, true);
  world.pass(600);
  assert.equal(world.sockets.length, 2);
});

test("the reason of a planned close is kept until the next connection", () => {
  const world = new World();
  world.link.connect();
  world.say({ type: "bye", reason: "shutting down" });
  world.socket.onclose();
  assert.equal(world.link.link.bye, "shutting down");
  world.pass(600);
  world.say();
  assert.deepEqual([world.link.link.bye, world.link.link.lost_at], ["", null]);
});

const SNAPSHOT = encode("snapshot", [{ slot: 0, customer: "a", vehicle: "x" }], { version: 5, epoch: "e5" });
const settled = () => new Promise((done) => setImmediate(done));

test("without a place to resume from, the snapshot is fetched beside the handshake and the socket goes on from it", async () => {
  const world = new World();
  world.resume = null;
  world.link.connect();
  world.socket.onopen();
  world.say({ type: "resync", refused: false });
  assert.deepEqual([world.fetches.length, world.socket.sent], [1, []]);
  world.fetches[0].on_progress(10, 40);
  world.fetches[0].answer(SNAPSHOT);
  await settled();
  assert.deepEqual([world.progress, world.socket.sent], [[[10, 40]], [{ type: "resume", epoch: "e5", version: 5 }]]);
  world.say({ type: "resync", refused: false }); // said before our resume was heard
  assert.equal(world.fetches.length, 1);
});

test("a snapshot that comes before the socket is open is resumed from when it opens", async () => {
  const world = new World();
  world.resume = null;
  world.link.connect();
  world.socket.readyState = 0;
  world.fetches[0].answer(SNAPSHOT);
  await settled();
  assert.deepEqual(world.socket.sent, []);
  world.socket.onopen();
  assert.deepEqual(world.socket.sent, [{ type: "resume", epoch: "e5", version: 5 }]);
});

test("a refused place is replaced by a new snapshot, at most one a second", async () => {
  const world = new World();
  world.link.connect();
  world.socket.onopen();
  world.say({ type: "resync", refused: true });
  world.say({ type: "resync", refused: true });
  assert.equal(world.fetches.length, 1);
  world.fetches[0].answer(SNAPSHOT);
  await settled();
  world.say({ type: "resync", refused: true });
  assert.equal(world.fetches.length, 1);
  world.pass(1_000);
  assert.equal(world.fetches.length, 2);
});

test("a snapshot of a connection that was lost is given up, and the next one fetches its own", async () => {
  const world = new World();
  world.resume = null;
  world.link.connect();
  world.pass(900);
  world.socket.onclose();
  assert.equal(world.fetches[0].signal.aborted, true);
  world.fetches[0].answer(SNAPSHOT);
  await settled();
  assert.deepEqual(world.frames, []);
  world.pass(600);
  assert.equal(world.fetches.length, 2);
});

test("a snapshot that cannot be had, or read, is tried again after a pause", async () => {
  for (const fail of [({ fail }) => fail(new Error("the server answered 503")), ({ answer }) => answer(SNAPSHOT.slice(0, 50))]) {
    const world = new World();
    world.resume = null;
    world.link.connect();
    fail(world.fetches[0]);
    await settled();
    assert.deepEqual([world.link.link.phase, world.sockets[0].closed], ["waiting", true]);
    world.pass(1_100);
    assert.deepEqual([world.sockets.length, world.fetches.length], [2, 2]);
  }
});

test("a binary frame that cannot be read ends the connection, and the place it had", () => {
  const world = new World();
  world.link.connect();
  world.socket.onopen();
  world.socket.onmessage({ data: encode("heard", []).slice(0, 31) });
  assert.deepEqual([world.sockets[0].closed, world.resume], [true, null]);
  const frame = encode("heard", []);
  new Uint8Array(frame)[0] = 99;
  const other = new World();
  other.link.connect();
  other.socket.onmessage({ data: frame });
  assert.equal(other.link.link.phase, "open", "a kind of tomorrow is left out");
});

test("a frame that is not JSON is left out", () => {
  const world = new World();
  world.link.connect();
  world.socket.onmessage({ data: "{" });
  assert.equal(world.link.link.phase, "open");
});

test("a socket that never opens may be a refusal: a plain request tells, and it is not asked often", async () => {
  const world = new World();
  world.door = 401;
  world.link.connect();
  world.socket.onclose();
  await new Promise(setImmediate);
  assert.equal(world.link.link.refused, 401);
  world.pass(15_000);
  assert.equal(world.sockets.length, 2);
  world.socket.onclose();
  assert.ok(world.link.link.retry_at - world.time > 10_000, "asking more often gives no right");
  world.pass(15_000);
  world.say();
  assert.equal(world.link.link.refused, 0, "a frame says that we may");
});

test("a refusal that is told slower than the next attempt begins is heard; one that a socket has proved wrong is not", async () => {
  for (const [opens, refused] of [[false, 403], [true, 0]]) {
    const world = new World();
    let answer;
    world.door = new Promise((done) => { answer = done; });
    world.link.connect();
    world.socket.onclose();
    world.pass(700);
    assert.deepEqual([world.sockets.length, world.link.link.phase], [2, "connecting"]);
    if (opens) world.say();
    answer(403);
    await new Promise(setImmediate);
    assert.equal(world.link.link.refused, refused);
  }
});

test("a snapshot that is refused is told from one that cannot be had", async () => {
  for (const [status, refused] of [[401, 401], [403, 403], [503, 0]]) {
    const world = new World();
    world.resume = null;
    world.link.connect();
    world.fetches[0].fail(Object.assign(new Error("no"), { status }));
    await new Promise(setImmediate);
    assert.equal(world.link.link.refused, refused, String(status));
  }
});

test("the delay is what frames are later than the quickest one, and the tick they waited for", () => {
  const pace = new Pace();
  pace.begin(250);
  assert.ok(Number.isNaN(pace.delay_ms));
  pace.heard(1_000_000, 500); // the clocks begin where they like
  assert.equal(pace.delay_ms, 250);
  pace.heard(1_001_000, 1_500 + 700);
  assert.ok(Math.abs(pace.delay_ms - 950) < 3, `${pace.delay_ms}`);
  for (let at = 2; at < 10; at++) pace.heard(1_000_000 + at * 1_000, 500 + at * 1_000);
  assert.ok(pace.delay_ms < 253, "what was late is forgotten");
  pace.begin(250);
  pace.heard(2_000_000, 900_000);
  assert.equal(pace.delay_ms, 250, "another way, another quickest");
});
