/**
 * Dashboards that do not read: sockets that take nothing, and a page whose thread is stuck. They cost the service bounded
 * memory, and the page shows the newest state at once when it goes on. STALL_S=60 measures a whole minute.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { beat, chip, equals_rest, open_page, row_of, skip_reason, start_browser, start_service } from "./harness.mjs";
import { drive, fill, id } from "./traffic.mjs";

const VEHICLES = 20_000;
const UPDATES_PER_S = 5_000;
const STALL_MS = 1_000 * Number(process.env.STALL_S ?? 12);
const READERS = 40;
/** A reader's credit is 256 KiB, and the kernel holds another 512 KiB that is not ours; the rest is for the machine's mood. */
const MB_PER_READER_MAX = 1.5;
const NEWEST_MS_MAX = 3_000;

/** A socket of the dashboard's protocol that follows the fleet and reads nothing more. */
async function stalled_reader(service, resume) {
  const socket = connect(service.port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(["GET /api/v1/live HTTP/1.1", "Host: test", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: rollcall.v1.bin", "", ""].join("\r\n"));
  await once(socket, "data");
  const text = Buffer.from(JSON.stringify(resume));
  socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), text])); // masked with zeros
  socket.pause();
  socket.on("error", () => {}); // the service gives it up after half a minute
  return socket;
}

const rss_mb = ({ child }) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))[1]) / 1_024;

describe("dashboards that do not read", { skip: skip_reason() }, () => {
  let browser, service;
  before(async () => {
    service = await start_service({ offline_after: "1h" });
    await fill(service.url, VEHICLES);
    browser = await start_browser();
  });
  after(async () => {
    await browser?.close();
    await service?.kill();
  });

  test("they cost bounded memory, and a page that was stuck shows the newest state at once", async () => {
    const { page } = await open_page(browser, `${service.url}/?q=veh-00000`);
    await chip(page, "All", "[1-9]\\d*").waitFor();
    await page.locator("#grid[aria-busy=false]").waitFor();
    const traffic = drive(service.url, { vehicles: VEHICLES, per_s: UPDATES_PER_S });
    await page.waitForFunction((start) => performance.now() - start > 5_000, await page.evaluate(() => performance.now())); // the length of the warm-up
    const before_mb = rss_mb(service);
    const [epoch, version] = await page.evaluate(async () => {
      const { state } = await import("/js/app.js");
      return [state.epoch, state.version];
    });
    const readers = [];
    for (let at = 0; at < READERS; at++) readers.push(await stalled_reader(service, { type: "resume", epoch, version }));
    const stuck = page.evaluate((ms) => { for (const end = performance.now() + ms; performance.now() < end;); }, STALL_MS);
    let most_mb = 0;
    const timer = setInterval(() => { most_mb = Math.max(most_mb, rss_mb(service)); }, 500);
    await stuck;
    traffic.stop();
    clearInterval(timer);
    await beat(service.url, { customer: "customer-7", vehicle: id(7), speed_kmh: 123 });
    const started = performance.now();
    await row_of(page, id(7)).waitFor();
    await page.waitForFunction(async () => {
      const { state: { fleet } } = await import("/js/app.js");
      return fleet.speed_of(fleet.find("customer-7/VEH-000007")) === 123;
    });
    const newest_ms = performance.now() - started;
    for (const reader of readers) reader.destroy();
    const per_reader = (most_mb - before_mb) / READERS;
    const figures = `${READERS} readers stalled for ${STALL_MS / 1_000} s under ${UPDATES_PER_S} updates/s: ${before_mb.toFixed(0)} MB, at most ${most_mb.toFixed(0)} MB (${per_reader.toFixed(2)} MB each); newest state after ${newest_ms.toFixed(0)} ms`;
    console.log(figures);
    assert.ok(traffic.sent > 0 && per_reader < MB_PER_READER_MAX, figures);
    assert.ok(newest_ms < NEWEST_MS_MAX, figures);
    await equals_rest(page, service.url);
  });
});
