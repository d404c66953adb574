/**
 * What every browser test needs: the service under test, a browser, and conditions to wait for.
 * The service is the real binary named by ROLLCALL_BIN. Without it or without Chromium the tests are skipped with the reason,
 * or fail when REQUIRE_BROWSER=1.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { once } from "node:events";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { decode } from "../../web/js/codec.js";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const BIN = process.env.ROLLCALL_BIN ?? "";
// Software WebGL, the same on every machine. Not --disable-gpu: then the page is put together by the processor, and each
// frame of the map is read back for it, which holds up the page's own thread for 150 ms.
const ARGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
  "--use-angle=swiftshader", "--enable-unsafe-swiftshader"];
/** How long a condition may take; generous, since test machines are busy. */
export const PATIENCE_MS = 20_000;

/** For describe(): why these tests cannot run, or false. */
export function skip_reason({ needs_binary = true } = {}) {
  let reason = false;
  if (!existsSync(CHROMIUM)) reason = `no browser at ${CHROMIUM} (install chromium, or name one in CHROMIUM)`;
  else if (needs_binary && BIN === "") reason = "ROLLCALL_BIN does not name the rollcall binary";
  else if (needs_binary && !existsSync(BIN)) reason = `ROLLCALL_BIN names ${BIN}, which does not exist`;
  if (reason && process.env.REQUIRE_BROWSER === "1") throw new Error(`REQUIRE_BROWSER=1, but ${reason}`);
  return reason;
}

/** Starts the real service on free ports, or on the HTTP port given, with further settings: { MAP__STYLE_URL: "..." }. Resolves when it says that it is ready. */
export async function start_service({ port = 0, offline_after = "3s", settings = {}, command = ["serve"], store = "sqlite::memory:" } = {}) {
  const flags = [...command, "--http", `127.0.0.1:${port}`, "--mqtt-listen", "127.0.0.1:0", "--store", store, "--offline-after", offline_after];
  const variables = Object.entries(settings).map(([name, value]) => [`ROLLCALL__${name}`, value]);
  const env = { ...process.env, ...Object.fromEntries(variables) };
  const child = spawn(BIN, flags, { stdio: ["ignore", "pipe", "pipe"], env });
  let complaints = "";
  child.stderr.on("data", (data) => { complaints = (complaints + data).slice(-4_000); });
  const address = await new Promise((done, failed) => {
    child.once("error", failed);
    child.once("exit", (code) => failed(new Error(`the service ended with ${code} before it was ready: ${complaints}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const ready = /^ready http=(\S+)/.exec(line);
      if (ready) done(ready[1]);
    });
  });
  return {
    url: `http://${address}`,
    port: Number(address.split(":").pop()),
    child,
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}

/** Runs another command of the binary on this store, with this on its standard input, and gives back what it prints. */
export function command(store, ...rest) {
  const input = rest.pop();
  return execFileSync(BIN, ["--store", store, ...rest], { input, stdio: ["pipe", "pipe", "ignore"] }).toString().trim();
}

export const start_browser = () => chromium.launch({ executablePath: CHROMIUM, headless: true, args: ARGS });

/** Opens the page and notes every request and every error, so that a test can say there were none. */
export async function open_page(browser, url, { width = 1280, height = 800, prepare = async () => {}, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const requests = [];
  const errors = [];
  page.on("request", (request) => requests.push(request.url()));
  page.on("websocket", (socket) => requests.push(socket.url()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (line) => { if (/content security policy/i.test(line.text())) errors.push(line.text()); });
  await prepare(page);
  await page.goto(url);
  return { page, context, requests, errors };
}

/**
 * Opens a page on the stand-in and waits until it is whole: every vehicle is there, its parts beside the list are loaded,
 * and the stand-in follows it, so that it hears of what comes next and nothing of it is still to be fetched.
 */
export async function open_on(fake, browser, path = "/", options = {}) {
  const seen = await open_page(browser, fake.url + path, options);
  await seen.page.locator("#grid[aria-busy=false]").waitFor({ state: "attached" });
  await seen.page.locator("#proof:not(:empty)").waitFor({ state: "attached" });
  await until("the page is followed", () => fake.sockets.clients.size > 0 && [...fake.sockets.clients].every(({ following }) => following));
  return seen;
}

/**
 * Puts a wire between page and service that the test can cut and listen to: for open_page({ prepare: wire.lay }).
 * connections: one entry a socket, with the messages of both directions. `lose` is asked for every frame from the service,
 * and one it says yes to never arrives. While `down` is true no connection comes about.
 */
export function live_wire({ lose = () => false } = {}) {
  const connections = [];
  const wire = { connections, down: false };
  wire.lay = (page) => page.routeWebSocket(/\/api\/v1\/live$/, (socket) => {
    if (wire.down) return socket.close();
    const server = socket.connectToServer();
    const connection = { sent: [], received: [], cut: () => Promise.all([server.close(), socket.close()]) };
    connections.push(connection);
    socket.onMessage((text) => { connection.sent.push(JSON.parse(text)); server.send(text); });
    server.onMessage((data) => {
      const frame = read_frame(data);
      if (lose(frame)) return;
      connection.received.push(frame);
      socket.send(data);
    });
  });
  return wire;
}

function read_frame(data) {
  if (typeof data === "string") return JSON.parse(data);
  return decode(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
}

/**
 * Looks at the page frame by frame, from its first one on: from outside one would look too seldom. For addInitScript;
 * what it saw is in window.seen, in ms since the navigation.
 */
export function watch_start() {
  const seen = (window.seen = { first_rows: 0, usable: 0, loading: "", rows_while_loading: false, longest_task: 0 });
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) seen.longest_task = Math.max(seen.longest_task, duration);
  }).observe({ type: "longtask", buffered: true });
  const look = () => {
    const rows = document.querySelector("#rows [role=row]:not([hidden])") !== null;
    const busy = document.querySelector("#grid[aria-busy=false]") === null;
    if (rows) seen.first_rows ||= performance.now();
    if (rows && busy) seen.rows_while_loading = true;
    if (rows && !busy) seen.usable ||= performance.now();
    const said = document.getElementById("banner-status")?.textContent ?? "";
    if (said.startsWith("Loading")) seen.loading = said;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}

/** What the page holds of every vehicle, whether its row is in sight or not; times in epoch ms. */
export const fleet_of = (page) => page.evaluate(async () => {
  const { state: { fleet } } = await import("/js/app.js");
  const known = (value) => (Number.isNaN(value) ? null : value);
  const words = ["online", "offline", "unobserved", "never_seen"];
  return fleet.slots().map((slot) => [fleet.key_of(slot), words[fleet.status[slot]], fleet.seq[slot], ...[fleet.status_since[slot], fleet.last_seen[slot],
    fleet.lat_of(slot), fleet.lon_of(slot), fleet.speed_of(slot), fleet.heading_of(slot), fleet.battery_of(slot)].map(known)].join("|")).sort();
});

/** The same, as REST tells it. */
export async function fleet_by_rest(url) {
  const rows = [];
  for (let cursor = ""; cursor !== null;) {
    const page = await (await fetch(`${url}/api/v1/vehicles?limit=1000${cursor && `&cursor=${encodeURIComponent(cursor)}`}`)).json();
    rows.push(...page.items);
    cursor = page.next_cursor;
  }
  const time = (text) => (text === null ? null : Date.parse(text));
  const rounded = (value, to) => (value === null || value === undefined ? null : Math.round(value * to) / to); // as the columns hold it
  return rows.map(({ customer, vehicle, status, seq, status_since, last_seen, position, battery_pct }) => [`${customer}/${vehicle}`, status, seq, time(status_since),
    time(last_seen), rounded(position?.lat, 1e7), rounded(position?.lon, 1e7), rounded(position?.speed_kmh, 10), rounded(position?.heading_deg, 10),
    rounded(battery_pct, 1)].join("|")).sort();
}

/** Waits until every row of the page equals REST; says which do not. */
export async function equals_rest(page, url) {
  let differing = [];
  await until("every row equals REST", async () => {
    const [shown, told] = [await fleet_of(page), new Set(await fleet_by_rest(url))];
    differing = shown.filter((row) => !told.has(row));
    return differing.length === 0 && shown.length === told.size;
  }).catch((error) => { throw new Error(`${error.message}; ${differing.length} differ: ${differing.slice(0, 3).join("  ")}`); });
}

/** Sends heartbeats through the public door. */
export async function beat(url, ...rows) {
  const answer = await fetch(`${url}/api/v1/heartbeats`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(rows),
  });
  const body = await answer.json();
  if (answer.status !== 202 || body.refused.length > 0) throw new Error(`heartbeats refused: ${answer.status} ${JSON.stringify(body)}`);
}

/** Beats on and on, for vehicles that have to stay online through a test. */
export function keep_beating(url, rows, every_ms = 700) {
  const timer = setInterval(() => beat(url, ...rows).catch(() => {}), every_ms);
  return () => clearInterval(timer);
}

/** Waits until the condition holds. */
export async function until(what, condition, limit_ms = PATIENCE_MS) {
  const end = Date.now() + limit_ms;
  for (;;) {
    if (await condition()) return;
    if (Date.now() > end) throw new Error(`waited ${limit_ms} ms in vain: ${what}`);
    await new Promise((done) => setTimeout(done, 30));
  }
}

/** The body row of a vehicle. */
export const row_of = (page, vehicle) => page.locator("#rows [role=row]:visible").filter({ has: page.getByText(vehicle, { exact: true }) });

/** A status button, by its word and number: chip(page, "Online", 3). */
export const chip = (page, word, count = "[\\d,–]+") => page.getByRole("button", { name: new RegExp(`^${word} ${count}$`) });

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** What axe-core finds wrong with the page as it is now. */
export async function violations(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate((rules) => window.axe.run(document, { runOnly: rules }), RULES);
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(", ")}`);
}
