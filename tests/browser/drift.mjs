/**
 * Whether a page that stays open grows: its heap, after a collection, at the begin and at the end of a stretch of
 * 5,000 updates a second, with vehicles that fall silent and come back. As a command, for ten minutes:
 *   ROLLCALL_BIN=target/release/rollcall npm run measure:drift [MINUTES]
 * It fails when the heap grew by 10 % or more. large.test.mjs does the same for a shorter time.
 */
import { fileURLToPath } from "node:url";
import { open_page, start_browser, start_service } from "./harness.mjs";
import { cost_of, drive, fill, measure_for } from "./traffic.mjs";

const VEHICLES = 100_000;
const UPDATES_PER_S = 5_000;
/** The page has loaded its parts and filled its bounded lists. */
const WARM_UP_MS = 60_000;
export const DRIFT_MAX = 0.1;

/** Heap at the begin and at the end, in MB, and how much it grew (0.05 is 5 %). */
export async function drift_of(measure, wait) {
  const { heap_mb: before } = await measure({ collect: true });
  await wait();
  const { heap_mb: after } = await measure({ collect: true });
  return { before, after, drift: after / before - 1 };
}

async function main(minutes) {
  // Each vehicle has its turn every 20 s: with a timeout a little longer, a busy machine makes some of them fall silent.
  const service = await start_service({ offline_after: "21s" });
  const browser = await start_browser();
  try {
    await fill(service.url, VEHICLES);
    const { page, context } = await open_page(browser, service.url);
    await page.getByText("100,000 of 100,000").waitFor();
    const traffic = drive(service.url, { vehicles: VEHICLES, per_s: UPDATES_PER_S });
    const measure = await cost_of(context, page);
    await measure_for(page, WARM_UP_MS);
    const first = await measure();
    const { before, after, drift } = await drift_of(measure, () => measure_for(page, minutes * 60_000));
    const last = await measure();
    traffic.stop();
    const seconds = last.time_s - first.time_s;
    const ms_per_s = (1_000 * (last.task_s - first.task_s)) / seconds;
    console.log(`${minutes} min, ${(traffic.sent / (seconds + WARM_UP_MS / 1_000)).toFixed(0)} updates/s: heap ${before.toFixed(1)} MB, then ${after.toFixed(1)} MB (${(100 * drift).toFixed(1)} %); main thread ${ms_per_s.toFixed(0)} ms per second`);
    if (drift >= DRIFT_MAX) process.exitCode = 1;
  } finally {
    await browser.close();
    await service.kill();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(Number(process.argv[2] ?? 10));
