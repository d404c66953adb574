/**
 * Takes the README's pictures of a running service:
 *   node tests/browser/screenshot.mjs http://127.0.0.1:8080
 * Writes docs/screenshot.png at 1280x800, dark, with the panel of the first offline vehicle (or the first of all) open.
 */
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { open_page, start_browser } from "./harness.mjs";

const [url = "http://127.0.0.1:8080", target = fileURLToPath(new URL("../../docs/screenshot.png", import.meta.url))] = process.argv.slice(2);

const browser = await start_browser();
try {
  const { page } = await open_page(browser, url, { colorScheme: "dark" });
  await page.locator("#link-state[data-kind=live]").waitFor();
  const rows = page.locator("#rows [role=row]:visible");
  await rows.first().waitFor();
  const offline = page.locator("#rows [data-status=offline]:visible");
  await ((await offline.count()) > 0 ? offline : rows).first().click();
  await page.locator("#drawer-transitions li").first().waitFor();
  await page.mouse.move(640, 790); // no row lit up by the mouse
  mkdirSync(fileURLToPath(new URL("../../docs/", import.meta.url)), { recursive: true });
  await page.screenshot({ path: target });
  console.log(`wrote ${target}`);
} finally {
  await browser.close();
}
