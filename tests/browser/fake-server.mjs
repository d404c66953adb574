#!/usr/bin/env node
/**
 * A stand-in for the service, as far as the dashboard can see it: pages, REST reads, heartbeats, live socket.
 * Two uses. In a test file: faults the real binary does not produce on order (a gap, blindness, silence, lost frames).
 * As a command it takes the flags of `rollcall serve`, so the tests for the real binary can be tried without one.
 */
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { WebSocketServer } from "ws";
import { encode } from "../web/wire.mjs";

const WEB = new URL("../../web/", import.meta.url);
const TYPES = { ".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript", ".json": "application/json", ".svg": "image/svg+xml" };
const CSP = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; worker-src 'self'; style-src 'self'";
const TICK_MS = 200;
const RESUME_WAIT_MS = 100;
const FIRST_ROWS = 60;
const time = (ms) => (ms === null ? null : new Date(ms).toISOString());

export class FakeServer {
  constructor({ offline_after_ms = 3_000 } = {}) {
    this.offline_after_ms = offline_after_ms;
    this.epoch = `fake-${process.pid}-${Date.now()}`;
    this.version = 1;
    this.vehicles = new Map();
    this.transitions = new Map();
    this.told = []; // transitions as they were sent, each with the version before it
    this.next_slot = 0;
    this.joined = new Set();
    this.changed = new Set();
    this.changed_at = new Map(); // vehicle -> version of its last change
    this.joined_at = new Map();
    this.removed = []; // slots
    this.removed_at = [];
    this.snapshots = 0;
    this.muted = new Set(); // sockets that hear nothing any more
    this.received = []; // every message of every dashboard, for asserting
    this.refuse_rest = false;
    this.refuse_all = 0; // 401 or 403: who looks may not, not even at the socket
    this.warnings = [];
    this.kept = new Map(); // heartbeats that are kept: vehicle -> newest first
    this.gaps = []; // blind intervals, as REST tells them
    this.store = { kind: "sqlite", ok: true, spool_rows: 0 };
    this.exports = []; // newest first
    this.service = "1.2.3";
    this.web_files = "a1"; // the mark of the dashboard's files
    this.snapshots_wait_for = Promise.resolve();
  }

  /** Snapshots wait until the function given back is called. */
  hold_snapshots() {
    let there;
    this.snapshots_wait_for = new Promise((done) => { there = done; });
    return there;
  }

  async start(port = 0) {
    this.http = createServer((request, response) => this.#answer(request, response));
    this.sockets = new WebSocketServer({ server: this.http, path: "/api/v1/live", handleProtocols: () => "rollcall.v1.bin",
      verifyClient: (_, answer) => answer(this.refuse_all === 0, this.refuse_all) });
    this.sockets.on("connection", (socket) => this.#welcome(socket));
    await new Promise((done, failed) => this.http.once("error", failed).listen(port, "127.0.0.1", done));
    this.timers = [setInterval(() => this.tick(), TICK_MS), setInterval(() => this.send(this.counts()), 1_000)];
    this.port = this.http.address().port;
    this.url = `http://127.0.0.1:${this.port}`;
    return this;
  }

  async stop() {
    this.timers.forEach(clearInterval);
    for (const socket of this.sockets.clients) socket.terminate();
    this.http.closeAllConnections();
    await new Promise((done) => this.http.close(done));
  }

  // --- the fleet

  heartbeat({ customer, vehicle, lat, lon, speed_kmh = null, heading_deg = null, ...rest }, now = Date.now()) {
    const known = this.add(customer, vehicle);
    Object.assign(known, rest, { last_seen: time(now) });
    if (lat !== undefined) known.position = { lat, lon, at: time(now), speed_kmh, heading_deg };
    if (known.status !== "online") this.#turn(known, "online", now, "heartbeat");
    this.changed.add(known);
  }

  add(customer, vehicle, fields = {}) {
    const key = `${customer}/${vehicle}`;
    if (!this.vehicles.has(key)) {
      this.vehicles.set(key, {
        slot: this.next_slot++, customer, vehicle, name: null, registration: null, vin: null, tags: [], status: "never_seen", status_since: time(Date.now()), last_seen: null,
        position: null, battery_pct: null, odometer_km: null, ignition: null, metrics: {}, offline_after_ms: this.offline_after_ms, policy_source: "default", seq: 0,
      });
      this.transitions.set(key, []);
    }
    const known = Object.assign(this.vehicles.get(key), fields);
    (this.#is_new(known) ? this.joined : this.changed).add(known);
    return known;
  }

  #is_new(known) { return !this.joined_at.has(known); }

  set_status(customer, vehicle, status, cause) {
    this.#turn(this.vehicles.get(`${customer}/${vehicle}`), status, Date.now(), cause);
  }

  remove(customer, vehicle) {
    const known = this.vehicles.get(`${customer}/${vehicle}`);
    this.changed.delete(known);
    this.joined.delete(known);
    this.vehicles.delete(`${customer}/${vehicle}`);
    this.removed.push(known);
  }

  #turn(known, to, at, cause) {
    const { customer, vehicle, status: from, last_seen } = known;
    Object.assign(known, { status: to, status_since: time(at), seq: known.seq + 1 });
    const transition = { seq: known.seq, from, to, at: time(at), decided_at: time(Date.now()), cause, evidence: { last_seen: last_seen ?? null } };
    this.transitions.get(`${customer}/${vehicle}`).unshift(transition);
    this.changed.add(known);
    const told = { slot: known.slot, ...transition };
    this.told.push([told, this.version]);
    this.send_bytes("transitions", [told]);
  }

  // --- the live socket

  tick() {
    const now = Date.now();
    for (const known of this.vehicles.values()) {
      const deadline = Date.parse(known.last_seen) + known.offline_after_ms;
      if (known.status === "online" && deadline < now) this.#turn(known, "offline", deadline, "silence");
    }
    const [joined, changed, removed] = [[...this.joined], [...this.changed].filter((known) => !this.joined.has(known)), this.removed];
    if (joined.length + changed.length + removed.length === 0) return;
    const from = this.version++;
    for (const known of [...joined, ...changed]) this.changed_at.set(known, this.version);
    for (const known of joined) this.joined_at.set(known, this.version);
    for (const known of removed) this.removed_at.push([known, this.version]);
    this.joined = new Set();
    this.changed = new Set();
    this.removed = [];
    const following = [...this.sockets.clients].filter((socket) => socket.following);
    this.#send_delta(from, { joined, changed, removed }, following);
  }

  /** Like the service: several frames, of which the last brings the new version. */
  #send_delta(from, { joined, changed, removed }, sockets) {
    this.send_bytes("left", removed, { from, version: from }, sockets);
    this.send_bytes("joined", joined, { from, version: from }, sockets);
    this.send_bytes("turned", changed, { from, version: from }, sockets);
    this.send_bytes("heard", changed, { from, version: this.version, frames: 4 }, sockets);
  }

  send_bytes(type, rows, versions = {}, sockets = [...this.sockets.clients].filter((socket) => socket.following)) {
    const bytes = encode(type, rows, versions);
    for (const socket of sockets) if (!this.muted.has(socket)) socket.send(bytes);
  }

  send(frame, sockets = this.sockets.clients) {
    const text = JSON.stringify(frame);
    for (const socket of sockets) if (!this.muted.has(socket)) socket.send(text);
  }

  /** Falls silent towards those connected now, as a hung path does; new connections are served. */
  mute() {
    this.muted = new Set(this.sockets.clients);
  }

  unmute() {
    this.muted = new Set();
  }

  counts() {
    const counts = { type: "counts", version: this.version, online: 0, offline: 0, unobserved: 0, never_seen: 0, server_time: time(Date.now()) };
    for (const { status } of this.vehicles.values()) counts[status] += 1;
    return counts;
  }

  #welcome(socket) {
    this.tick(); // so that the snapshot is the version it says
    this.send({ type: "hello", epoch: this.epoch, version: this.version, tick_ms: TICK_MS, server_time: time(Date.now()), service: this.service }, [socket]);
    this.send(this.counts(), [socket]);
    // Like the service: a short wait for a resume, then it is told to fetch a snapshot and resume from that.
    const wait = setTimeout(() => this.send({ type: "resync", refused: false }, [socket]), RESUME_WAIT_MS);
    socket.on("message", (data) => {
      const message = JSON.parse(data);
      this.received.push(message);
      if (message.type !== "resume") return;
      clearTimeout(wait);
      if (message.epoch === this.epoch) this.#resume(socket, message.version);
      else this.send({ type: "resync", refused: true }, [socket]);
    });
  }

  #resume(socket, version) {
    this.tick();
    socket.following = true;
    const since = [...this.vehicles.values()].filter((known) => this.changed_at.get(known) > version);
    const joined = since.filter((known) => this.joined_at.get(known) > version);
    const changed = since.filter((known) => !joined.includes(known));
    const removed = this.removed_at.filter(([, at]) => at > version).map(([known]) => known);
    if (version !== this.version) this.#send_delta(version, { joined, changed, removed }, [socket]);
    const untold = this.told.filter(([, at]) => at >= version).map(([told]) => told);
    if (untold.length > 0) this.send_bytes("transitions", untold, {}, [socket]);
  }

  #snapshot() {
    this.tick(); // so that it is the version it says
    this.snapshots += 1;
    return Buffer.from(encode("snapshot", [...this.vehicles.values()], { version: this.version, epoch: this.epoch }));
  }

  /** What the service writes into its page; filters are left to the page here, but for tests that give them none. */
  #first_rows() {
    const counts = this.counts();
    const rows = [...this.vehicles.values()].sort((a, b) => (a.vehicle < b.vehicle ? -1 : 1)).slice(0, FIRST_ROWS);
    const first = { service: this.service, web_files: this.web_files, server_time: time(Date.now()), counts, tally: counts, total: this.vehicles.size, items: rows };
    return `<script type="application/json" id="first-rows">${JSON.stringify(first).replaceAll("<", "\\u003c")}</script>`;
  }

  // --- pages and REST

  async #answer(request, response) {
    const { pathname, searchParams } = new URL(request.url, "http://fake");
    const json = (status, body) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    if (!pathname.startsWith("/api/")) return this.#file(request.url, response);
    if (this.refuse_all) return json(this.refuse_all, { title: "Refused", status: this.refuse_all, detail: "this key may not see customer acme" });
    if (pathname === "/api/v1/live") return json(400, { title: "No handshake", status: 400 });
    if (pathname === "/api/v1/live/snapshot") await this.snapshots_wait_for;
    if (pathname === "/api/v1/live/snapshot") return response.writeHead(200, { "content-type": "application/octet-stream" }).end(this.#snapshot());
    if (pathname === "/api/v1/status") {
      const well = { version: this.service, web_files: this.web_files, started_at: time(Date.now() - 3_600_000), listening: true, dashboards: 1 };
      return json(200, { ...well, store: this.store, canary: { state: "well", board: { lag_ms: 93 } } });
    }
    if (this.refuse_rest) return json(503, { title: "Store unavailable", status: 503, detail: "the store does not answer" });
    if (pathname === "/api/v1/transitions") {
      const of_vehicle = ([key, list]) => list.map((each) => ({ customer: key.split("/")[0], vehicle: key.slice(key.indexOf("/") + 1), ...each }));
      const customer = searchParams.get("customer");
      const items = [...this.transitions].flatMap(of_vehicle).filter((each) => !customer || each.customer === customer);
      return json(200, { items: items.sort((a, b) => (a.at < b.at ? 1 : -1)).slice(0, Number(searchParams.get("limit") ?? 50)), next_cursor: null });
    }
    if (pathname === "/api/v1/observation-gaps") return json(200, { items: this.gaps, next_cursor: null });
    if (pathname === "/api/v1/stats") return json(200, { items: this.#stats(searchParams) });
    if (pathname.endsWith("/availability")) {
      return json(200, { availability: 0.99876, outages: 2, longest_outage_ms: 240_000, unobserved_ms: 60_000, online_ms: 1, offline_ms: 1, never_seen_ms: 0 });
    }
    const heartbeats = /^\/api\/v1\/customers\/([^/]+)\/vehicles\/([^/]+)\/heartbeats$/.exec(pathname);
    if (heartbeats) {
      const items = this.kept.get(`${decodeURIComponent(heartbeats[1])}/${decodeURIComponent(heartbeats[2])}`) ?? [];
      return json(200, { items, next_cursor: null, kept: this.kept.size > 0 ? "sampled" : "off", kept_from: null, archived: [] });
    }
    if (pathname.startsWith("/api/v1/exports")) return this.#answer_exports(request, response, pathname, json);
    if (pathname === "/api/v1/heartbeats") {
      const rows = [JSON.parse((await request.toArray()).join(""))].flat();
      rows.forEach((row) => this.heartbeat(row));
      return json(202, { accepted: rows.length, refused: [] });
    }
    if (pathname === "/api/v1/map") return json(200, { style_url: null, raster_tiles: null, attribution: null, pmtiles: null, ...this.map });
    if (pathname === "/api/v1/vehicles") return json(200, { items: [...this.vehicles.values()], next_cursor: null, total: this.vehicles.size, counts: this.counts() });
    const one = /^\/api\/v1\/customers\/([^/]+)\/vehicles\/([^/]+)$/.exec(pathname);
    const known = one && this.vehicles.get(`${decodeURIComponent(one[1])}/${decodeURIComponent(one[2])}`);
    if (known) return json(200, known);
    if (pathname === "/api/v1/warnings") return json(200, { items: this.warnings });
    const found = /^\/api\/v1\/customers\/([^/]+)\/vehicles\/([^/]+)\/transitions$/.exec(pathname);
    const items = found && this.transitions.get(`${decodeURIComponent(found[1])}/${decodeURIComponent(found[2])}`);
    return items ? json(200, { items: items.slice(0, 20), next_cursor: null }) : json(404, { title: "Not found", status: 404, detail: `nothing at ${pathname}` });
  }

  /** Orders are taken as they are, but for one column that is unknown; the test then says how far each is. */
  async #answer_exports(request, response, pathname, json) {
    const [, , , , id, file] = pathname.split("/");
    const known = this.exports.find((each) => each.id === id);
    if (file) return response.writeHead(200, { "content-type": "text/csv", "content-disposition": `attachment; filename="${id}.csv"` }).end("customer,vehicle\n");
    if (id && !known) return json(404, { title: "Not found", status: 404, detail: "there is no such export" });
    if (request.method === "POST") {
      const order = JSON.parse((await request.toArray()).join(""));
      const errors = [{ field: "columns", problem: "'metrics.nothing' is unknown" }];
      if (order.columns?.includes("metrics.nothing")) return json(422, { title: "Wrong", status: 422, detail: "columns: wrong", errors });
      const { customer = null, vehicles = [], columns = [], from = null, to = null } = order;
      const made = { id: `${this.exports.length}`.padStart(16, "0"), state: "NOT_STARTED", progress: 0, rows: 0, bytes: 0, attempts: 0, error: null, exportUri: null, expires_at: null,
        ...{ kind: order.kind, format: order.format, customer, vehicles, columns, from: time(from), to: time(to), made_at: time(Date.now()), made_by: "nobody" } };
      this.exports.unshift(made);
      return json(202, made);
    }
    if (request.method === "DELETE") {
      if (["NOT_STARTED", "STARTED"].includes(known.state)) Object.assign(known, { state: "CANCELLED" });
      else this.exports = this.exports.filter((each) => each !== known);
      return response.writeHead(204).end();
    }
    return json(200, { items: this.exports, next_cursor: null });
  }

  /** A quiet past: ten vehicles online, but for a stretch in which nobody listened. */
  #stats(query) {
    const span = { minute: 60_000, hour: 3_600_000 }[query.get("resolution")];
    const [from, to] = ["from", "to"].map((name) => Math.ceil(Number(query.get(name)) / span) * span);
    return Array.from({ length: (to - from) / span }, (_, at) => from + at * span).map((at) => {
      const deaf = this.gaps.some((gap) => Date.parse(gap.from) <= at && Date.parse(gap.to) >= at + span);
      return { at: time(at), heartbeats: 100, online_avg: 10, offline_avg: 2, unobserved_avg: 0, observed_s: deaf ? 0 : span / 1_000, unobserved_s: deaf ? span / 1_000 : 0 };
    });
  }

  async #file(address, response) {
    const pathname = address.split("?")[0];
    const path = normalize(pathname === "/" ? "/index.html" : pathname).slice(1);
    try {
      let body = await readFile(new URL(path, WEB));
      if (address === "/") body = body.toString().replace("<!-- first rows -->", () => this.#first_rows());
      response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream", "content-security-policy": CSP }).end(body);
    } catch {
      response.writeHead(404, { "content-type": "text/plain" }).end("nothing here");
    }
  }
}

async function main() {
  const text = { type: "string" };
  const { values } = parseArgs({ allowPositionals: true, options: { "http": text, "mqtt-listen": text, "store": text, "offline-after": text } });
  const offline_after_ms = 1_000 * parseInt(values["offline-after"] ?? "90", 10);
  const server = await new FakeServer({ offline_after_ms }).start(Number((values.http ?? ":8080").split(":").pop()));
  console.log(`ready http=127.0.0.1:${server.port} mqtt=127.0.0.1:1 store=sqlite`);
  process.once("SIGTERM", async () => {
    server.send({ type: "bye", reason: "shutting down" });
    for (const socket of server.sockets.clients) socket.close();
    await server.stop();
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
