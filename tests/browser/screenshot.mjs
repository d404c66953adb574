/**
 * Takes the README's pictures of a demo that it starts itself, so that each new version has them with one command:
 *   ROLLCALL_BIN=target/release/rollcall node tests/browser/screenshot.mjs [FOLDER]
 * Writes into docs/screenshots/ (or the folder given): the fleet dark and light, a vehicle that is offline, the alerts,
 * the trends, a phone, and a page that has lost its service.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { open_page, start_browser, start_service, until } from "./harness.mjs";

const FOLDER = process.argv[2] ?? fileURLToPath(new URL("../../docs/screenshots/", import.meta.url));
/** Enough for some vehicles to have fallen silent and come back, and for a line in the charts. */
const HISTORY_MS = 1_000 * Number(process.env.HISTORY_S ?? 240);
const DESKTOP = { width: 1440, height: 900, colorScheme: "dark" };
const PHONE = { width: 390, height: 844, colorScheme: "dark", deviceScaleFactor: 2 };

const open_offline = async (page) => {
  const offline = page.locator("#rows [data-status=offline]:visible");
  await until("a vehicle is offline", async () => (await offline.count()) > 0, 120_000);
  await offline.first().click();
  await page.locator("#drawer-transitions .evidence").first().waitFor();
};

const PICTURES = [
  { name: "fleet-dark", path: "/?sort=-status_since", options: DESKTOP },
  { name: "fleet-light", path: "/?sort=-status_since", options: { ...DESKTOP, colorScheme: "light" } },
  { name: "vehicle", path: "/?status=offline", options: DESKTOP, prepare: open_offline },
  { name: "alerts", path: "/?view=alerts", options: DESKTOP, prepare: (page) => page.locator("#alerts-list li").first().waitFor() },
  { name: "trends", path: "/?view=trends", options: { ...DESKTOP, colorScheme: "light" }, prepare: (page) => page.locator("#trends-chart canvas").waitFor() },
  { name: "phone", path: "/", options: PHONE },
  { name: "phone-alerts", path: "/?view=alerts", options: PHONE, prepare: (page) => page.locator("#alerts-list li").first().waitFor() },
];

async function shoot(browser, url, { name, path, options, prepare = async () => {} }, last = async () => {}) {
  const { page, context } = await open_page(browser, url + path, options);
  await page.locator("#link-state[data-kind=live]").waitFor();
  await prepare(page);
  if (options.width > 760 && !path.includes("view=")) {
    await page.locator("#map[data-state=ready]").waitFor();
    await page.locator("#fleet-chart canvas").waitFor();
  }
  await page.mouse.move(options.width / 2, options.height - 4); // no row lit up by the mouse
  await page.waitForFunction((start) => performance.now() - start > 3_000, await page.evaluate(() => performance.now())); // two rounds of counts
  await last(page);
  const file = join(FOLDER, `${name}.png`);
  await page.screenshot({ path: file });
  console.log(`wrote ${file}`);
  await context.close();
}

mkdirSync(FOLDER, { recursive: true });
const service = await start_service({ command: ["demo"], offline_after: "20s" });
const browser = await start_browser();
try {
  await new Promise((done) => setTimeout(done, HISTORY_MS)); // the demo lives
  for (const picture of PICTURES) await shoot(browser, service.url, picture);
  await shoot(browser, service.url, { name: "stale", path: "/", options: DESKTOP }, async (page) => {
    service.child.kill("SIGSTOP"); // it hangs: nothing is closed, nothing comes
    await page.getByRole("alert").filter({ hasText: "Values may be old" }).waitFor();
  });
} finally {
  service.child.kill("SIGCONT");
  await browser.close();
  await service.kill();
}
