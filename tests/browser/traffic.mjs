/**
 * A large fleet that drives: fills the service through its public door, goes on beating at a steady rate, and reads from
 * the browser what that costs. Used by the tests and measurements of large fleets.
 */
import { beat } from "./harness.mjs";

/** A request holds so many at most. */
const BATCH = 1_000;
export const id = (number) => `VEH-${String(number).padStart(6, "0")}`;
const row = (number, round) => ({ customer: `customer-${number % 200}`, vehicle: id(number), lat: (number % 1_700) / 10 - 85, lon: round % 180, speed_kmh: number % 90 });

/** Every vehicle speaks once. */
export async function fill(url, vehicles) {
  for (let from = 0; from < vehicles; from += 4 * BATCH) {
    const batches = [0, 1, 2, 3].map((part) => Array.from({ length: Math.min(BATCH, vehicles - from - part * BATCH) }, (_, at) => row(from + part * BATCH + at, 0)));
    await Promise.all(batches.filter((rows) => rows.length > 0).map((rows) => beat(url, ...rows)));
  }
}

/** They go on, each in its turn, far apart in the list. Tells how many were taken, and stops. */
export function drive(url, { vehicles, per_s }) {
  let next = 0;
  const told = { sent: 0, stop: () => clearInterval(timer) };
  const timer = setInterval(() => {
    const rows = Array.from({ length: BATCH }, () => row((next = (next + 7_919) % vehicles), told.sent));
    beat(url, ...rows).then(() => { told.sent += BATCH; }, () => {}); // a busy machine sends less, and the figure says so
  }, (1_000 * BATCH) / per_s);
  return told;
}

/** Waits for the length of a measurement, by the page's clock. */
export async function measure_for(page, ms) {
  const start = await page.evaluate(() => performance.now());
  await page.waitForFunction(([start, ms]) => performance.now() - start > ms, [start, ms], { timeout: ms + 60_000, polling: 500 });
}

/** What the page costs: processor's time of its main thread in seconds, and the heap that is left after a collection. */
export async function cost_of(context, page) {
  const session = await context.newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  return async ({ collect = false } = {}) => {
    if (collect) await session.send("HeapProfiler.collectGarbage");
    const { metrics } = await session.send("Performance.getMetrics");
    const value = (name) => metrics.find((each) => each.name === name).value;
    return { task_s: value("TaskDuration"), time_s: await page.evaluate(() => performance.now() / 1_000), heap_mb: value("JSHeapUsedSize") / 1e6 };
  };
}
