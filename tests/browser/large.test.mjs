/**
 * 100,000 vehicles, 5,000 updates a second, from the real service: rows are in sight at once and the page stays light.
 * What was measured is printed; the limits are targets times three, for busy test machines, but for the heap.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { beat, equals_rest, open_page, skip_reason, start_browser, start_service } from "./harness.mjs";

const VEHICLES = 100_000;
const UPDATES_PER_S = 5_000;
/** A request holds so many at most. */
const BATCH = 1_000;
const FIRST_ROWS_MS_MAX = 3_000;
const USABLE_MS_MAX = 9_000;
/** Of a second's 1,000 ms. */
const MAIN_THREAD_MS_PER_S_MAX = 240;
const HEAP_MB_MAX = 60;
const id = (number) => `VEH-${String(number).padStart(6, "0")}`;
const row = (number, round) => ({ customer: `customer-${number % 200}`, vehicle: id(number), lat: (number % 1_700) / 10 - 85, lon: round % 180, speed_kmh: number % 90 });

/** Looks at the page frame by frame, from its first one on: from outside one would look too seldom. */
function watch() {
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

describe("a large fleet", { skip: skip_reason() }, () => {
  let browser, service, page, context;
  before(async () => {
    service = await start_service({ offline_after: "1h" });
    for (let from = 0; from < VEHICLES; from += 4 * BATCH) {
      const batches = [0, 1, 2, 3].map((part) => Array.from({ length: BATCH }, (_, at) => row(from + part * BATCH + at, 0)));
      await Promise.all(batches.map((rows) => beat(service.url, ...rows)));
    }
    browser = await start_browser();
    ({ page, context } = await open_page(browser, service.url, { prepare: (page) => page.addInitScript(watch) }));
  });
  after(async () => {
    await browser?.close();
    await service?.kill();
  });

  test("rows are in sight with the page, while the rest still loads; soon all of it is there", async () => {
    await page.getByText("100,000 of 100,000").waitFor();
    await page.waitForFunction(() => window.seen.usable > 0);
    const { first_rows, usable, rows_while_loading, loading, longest_task } = await page.evaluate(() => window.seen);
    console.log(`first rows after ${first_rows.toFixed(0)} ms, usable after ${usable.toFixed(0)} ms; longest task ${longest_task.toFixed(0)} ms; it said "${loading}"`);
    assert.equal(rows_while_loading, true);
    assert.ok(first_rows < FIRST_ROWS_MS_MAX && first_rows < usable, `first rows after ${first_rows} ms`);
    assert.ok(usable < USABLE_MS_MAX, `usable after ${usable} ms`);
  });

  test("only the rows in sight exist, and the last is one key away", async () => {
    await page.getByRole("grid", { name: "Vehicles" }).focus();
    await page.keyboard.press("End");
    await page.getByText(id(VEHICLES - 1)).waitFor();
    assert.ok(await page.locator("#rows [role=row]").count() < 60);
    await page.getByRole("searchbox", { name: "Search" }).fill("veh-0123");
    await page.getByText("100 of 100,000").waitFor();
    await page.getByRole("button", { name: "Clear filters" }).click();
  });

  test("5,000 updates a second leave the main thread free, and the heap small", async () => {
    const session = await context.newCDPSession(page);
    await session.send("Performance.enable");
    const busy = async () => {
      const { metrics } = await session.send("Performance.getMetrics");
      const value = (name) => metrics.find((each) => each.name === name).value;
      return { task_s: value("TaskDuration"), time_s: value("Timestamp"), heap_mb: value("JSHeapUsedSize") / 1e6 };
    };
    await page.evaluate(() => { window.seen.longest_task = 0; });
    let next = 0;
    let sent = 0;
    const timer = setInterval(() => {
      const rows = Array.from({ length: BATCH }, () => row((next = (next + 7_919) % VEHICLES), sent)); // far apart, each in turn
      beat(service.url, ...rows).then(() => { sent += BATCH; });
    }, (1_000 * BATCH) / UPDATES_PER_S);
    const before = await busy();
    await page.waitForFunction((start) => performance.now() - start > 8_000, await page.evaluate(() => performance.now())); // the length of the measurement
    const after = await busy();
    clearInterval(timer);
    await session.send("HeapProfiler.collectGarbage");
    const { heap_mb } = await busy();
    const seconds = after.time_s - before.time_s;
    const ms_per_s = (1_000 * (after.task_s - before.task_s)) / seconds;
    const { longest_task } = await page.evaluate(() => window.seen);
    const figures = `${(sent / seconds).toFixed(0)} updates/s: main thread ${ms_per_s.toFixed(0)} ms per second, longest task ${longest_task.toFixed(0)} ms, heap ${heap_mb.toFixed(1)} MB`;
    console.log(figures);
    assert.ok(sent > 0 && ms_per_s < MAIN_THREAD_MS_PER_S_MAX && heap_mb < HEAP_MB_MAX, figures);
    await equals_rest(page, service.url);
  });
});
