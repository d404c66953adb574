/**
 * The map in a real browser, on a software renderer. What it draws is read from its pixels, or from the figures it keeps
 * on its element (data-vehicles: vehicles on the map; data-frames: times drawn). The stand-in makes fleets to order; the
 * real binary proves that its Content-Security-Policy lets the map work and nothing else.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { FakeServer } from "./fake-server.mjs";
import { beat, open_page, row_of, skip_reason, start_browser, start_service, until, violations } from "./harness.mjs";

/** The colours of web/app.css as they come out of a screenshot. */
const DARK = { online: [60, 203, 127], offline: [255, 123, 114], sea: [12, 20, 29] };
const LIGHT = { online: [21, 115, 71], sea: [207, 219, 230], land: [227, 232, 238] };
/** Anything drawn by a graphics card may be one off. */
const SAME = 3;

const on_map = (page, vehicles) =>
  page.waitForFunction((wanted) => {
    const { state, vehicles, frames } = document.getElementById("map").dataset;
    return state === "ready" && vehicles === String(wanted) && Number(frames) > 0;
  }, vehicles);

/** How many pixels of the map have each colour. */
async function pixels(page, colours) {
  const shot = (await page.locator("#map-pane").screenshot()).toString("base64");
  return page.evaluate(async ([data, wanted, same]) => {
    const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0)); // no data: address, the page may not read one
    const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
    canvas.drawImage(image, 0, 0);
    const { data: rgba } = canvas.getImageData(0, 0, image.width, image.height);
    const found = Object.fromEntries(Object.keys(wanted).map((name) => [name, 0]));
    for (let at = 0; at < rgba.length; at += 4) {
      for (const [name, colour] of Object.entries(wanted)) {
        if (colour.every((part, index) => Math.abs(part - rgba[at + index]) <= same)) found[name] += 1;
      }
    }
    return found;
  }, [shot, colours, SAME]);
}

/** Where the camera is: the map keeps the middle of the pane at the place of the address. */
const middle_of = async (page) => {
  const box = await page.locator("#map").boundingBox();
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
};

describe("the map", { skip: skip_reason({ needs_binary: false }) }, () => {
  let browser, fake;
  const opened = [];
  before(async () => {
    fake = await new FakeServer({ offline_after_ms: 86_400_000 }).start();
    // A heap of vehicles in one place, the one that is offline among them.
    for (let at = 0; at < 400; at++) fake.heartbeat({ customer: "acme", vehicle: `HEAP-${at}`, lat: 48.2, lon: 11.5 });
    fake.vehicles.get("acme/HEAP-7").status = "offline";
    fake.heartbeat({ customer: "birch", vehicle: "FAR-1", lat: -33.9, lon: 151.2 });
    fake.heartbeat({ customer: "birch", vehicle: "<b>NO PLACE</b>" });
    browser = await start_browser();
  });
  afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));
  after(async () => {
    await browser?.close();
    await fake?.stop();
  });

  async function open(query = "", options = {}) {
    const seen = await open_page(browser, fake.url + query, { colorScheme: "dark", ...options });
    opened.push(seen);
    return seen.page;
  }

  test("every vehicle with a position is drawn, and at first all of them are in sight", async () => {
    const page = await open();
    await on_map(page, 401);
    const drawn = await pixels(page, DARK);
    assert.ok(drawn.online > 10, `${drawn.online} pixels of Sydney's green`);
    assert.ok(drawn.offline > 10, `${drawn.offline} pixels of red`);
    assert.ok(drawn.sea > 10_000, `${drawn.sea} pixels of sea`);
    await page.getByText("Made with Natural Earth").waitFor();
    assert.equal(new URL(page.url()).search, "", "the first look is not in the address");
  });

  test("an offline vehicle lies on top of 399 that are online in the same place", async () => {
    const page = await open("/?ll=48.2,11.5&z=6");
    await on_map(page, 401);
    await until("red", async () => (await pixels(page, DARK)).offline > 30);
  });

  test("the pointer names the vehicle, and a click opens it", async () => {
    const page = await open("/?ll=-33.9,151.2&z=9");
    await on_map(page, 401);
    const { x, y } = await middle_of(page);
    await until("its name beside the pointer", async () => {
      await page.mouse.move(x + 3, y + Math.random());
      return page.getByText("FAR-1 · birch · Online").isVisible();
    });
    await page.mouse.click(x, y);
    await page.getByRole("dialog", { name: "FAR-1" }).waitFor();
    assert.match(page.url(), /v=birch\/FAR-1/);
  });

  test("filters hide vehicles on the map as in the list", async () => {
    const page = await open();
    await on_map(page, 401);
    await page.getByRole("combobox", { name: "Customer" }).selectOption("birch");
    await on_map(page, 1);
    await until("no red any more", async () => (await pixels(page, DARK)).offline === 0);
    await page.getByRole("searchbox", { name: "Search" }).fill("heap");
    await on_map(page, 0);
    await page.getByRole("button", { name: "Clear filters" }).first().click();
    await page.getByRole("button", { name: /^Offline/ }).click();
    await on_map(page, 1);
  });

  test("a vehicle opened in the list comes in sight and is marked", async () => {
    const page = await open("/?ll=48.2,11.5&z=6");
    await on_map(page, 401);
    await page.getByRole("searchbox", { name: "Search" }).fill("far-1");
    await page.getByText("1 of 402").waitFor();
    await row_of(page, "FAR-1").click();
    await until("the vehicle in sight", async () => (await pixels(page, { accent: [108, 184, 255] })).accent > 40);
  });

  test("the trail of the open vehicle is drawn, goes on with it, is told in words and as a list, and ends with the panel", async () => {
    const ACCENT = { accent: [108, 184, 255] };
    const minute = (number) => new Date(Date.now() - 60_000 * number).toISOString();
    fake.heartbeat({ customer: "cedar", vehicle: "WAY-1", lat: 10, lon: 20, speed_kmh: 50 });
    fake.kept.set("cedar/WAY-1", [1, 2, 3].map((number) => ({ at: minute(number), arrived_at: minute(number), lat: 10 + number, lon: 20, speed_kmh: 60 })));
    const page = await open("/?ll=11.5,20&z=6&customer=cedar");
    await on_map(page, 1);
    assert.ok((await pixels(page, ACCENT)).accent < 20, "no trail without an open vehicle");
    await row_of(page, "WAY-1").click();
    const panel = page.getByRole("dialog", { name: "WAY-1" });
    await panel.getByText(/^4 places since /).waitFor();
    await until("a line", async () => (await pixels(page, ACCENT)).accent > 300);
    await panel.getByText("Places as a list").click();
    const rows = panel.locator("#drawer-places tr");
    assert.match(await rows.first().innerText(), /10\.00000, 20\.00000\s+50 km\/h/);
    assert.equal(await rows.count(), 4);
    assert.deepEqual(await violations(page), []);
    fake.heartbeat({ customer: "cedar", vehicle: "WAY-1", lat: 10, lon: 21 });
    await panel.getByText(/^5 places since /).waitFor();
    await panel.getByRole("button", { name: "Close" }).click(); // with Esc the grid would have a ring of that colour
    await panel.waitFor({ state: "hidden" });
    await until("the line is gone", async () => (await pixels(page, ACCENT)).accent < 20);
    fake.remove("cedar", "WAY-1");
  });

  test("the address keeps where the map is, and leads back there", async () => {
    const page = await open("/?ll=48.2,11.5&z=6");
    await on_map(page, 401);
    await page.locator("#map canvas").focus();
    await page.keyboard.press("ArrowRight"); // MapLibre's keys: the map is usable without a mouse
    await page.waitForFunction(() => /ll=48\.2\d*,1[2-9]\./.test(location.search));
    const { search } = new URL(page.url());
    await page.reload();
    await on_map(page, 401);
    assert.equal(new URL(page.url()).search, search);
    await page.getByRole("button", { name: "Show all vehicles in sight" }).click();
    await page.waitForFunction(() => location.search === "");
  });

  test("near the ground it says that it has no streets", async () => {
    const page = await open("/?ll=48.2,11.5&z=9");
    await on_map(page, 401);
    await page.getByText("The built-in map has no streets").waitFor();
    await page.locator("#map canvas").focus();
    await until("it is gone further up", async () => {
      await page.keyboard.press("-"); // each one moves it gently: a second one at once counts from where it still is
      return page.getByText("The built-in map has no streets").isHidden();
    });
  });

  test("the map follows the theme of the page", async () => {
    const page = await open("/?ll=48.2,11.5&z=4");
    await on_map(page, 401);
    await until("dark sea", async () => (await pixels(page, DARK)).sea > 5_000);
    await page.getByRole("button", { name: "Theme: system" }).click();
    await page.getByRole("button", { name: "Theme: dark" }).click();
    await until("light sea and land", async () => {
      const { sea, land, online } = await pixels(page, LIGHT);
      return sea > 5_000 && land > 5_000 && online > 5;
    });
  });

  test("on a phone, list and map take turns, and the map is loaded only when it is seen", async () => {
    const page = await open("", { width: 390, height: 844 });
    await row_of(page, "FAR-1").waitFor();
    assert.equal(await page.locator("#map-pane").isVisible(), false);
    const before = opened.at(-1).requests.filter((url) => url.includes("/vendor/"));
    assert.deepEqual(before, []);
    await page.getByRole("button", { name: "Map", exact: true }).click();
    await on_map(page, 401);
    assert.equal(new URL(page.url()).search, "?view=map");
    assert.equal(await page.locator("#grid").isVisible(), false);
    await page.getByRole("button", { name: "List", exact: true }).click();
    await row_of(page, "FAR-1").waitFor();
  });

  test("without WebGL2 it says so, and everything else goes on", async () => {
    const prepare = (page) => page.addInitScript(() => {
      HTMLCanvasElement.prototype.getContext = () => null;
    });
    const page = await open("", { prepare });
    await page.getByText("Map needs WebGL2").waitFor();
    await row_of(page, "FAR-1").click();
    await page.getByRole("dialog", { name: "FAR-1" }).getByText("-33.9").waitFor();
  });

  test("a lost graphics context is said, and the map is built anew", async () => {
    const page = await open();
    await on_map(page, 401);
    await page.evaluate(() => document.querySelector("#map canvas").getContext("webgl2").getExtension("WEBGL_lose_context").loseContext());
    await page.getByText("The graphics of this device gave up").waitFor();
    await on_map(page, 401);
    await page.getByText("The graphics of this device gave up").waitFor({ state: "hidden" });
  });

  for (const [look, options] of Object.entries({
    "dark": { colorScheme: "dark" },
    "light": { colorScheme: "light" },
    "light tablet": { colorScheme: "light", width: 900, height: 800 },
    "dark phone": { colorScheme: "dark", width: 390, height: 844 },
  })) {
    test(`axe finds nothing with the map: ${look}`, async () => {
      const page = await open("/?view=map", options);
      await on_map(page, 401);
      assert.deepEqual(await violations(page), []);
    });
  }

  test("no page asked another host for anything, and none had an error", () => {
    const hosts = new Set(opened.flatMap(({ requests }) => requests).filter((url) => !/^(data|blob):/.test(url)).map((url) => new URL(url).host));
    assert.deepEqual([...hosts], [new URL(fake.url).host]);
    assert.deepEqual(opened.flatMap(({ errors }) => errors), []);
  });
});

/** Another host with a map: a style, or tiles; what it was asked for. */
async function other_host(answer) {
  const asked = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    response.setHeader("access-control-allow-origin", "*");
    answer(request, response);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { asked, url: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

/** One red pixel. */
const PNG = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC", "base64");
const STYLE = { version: 8, sources: {}, layers: [{ id: "blue", type: "background", paint: { "background-color": "#0000ff" } }] };

/** A PMTiles file (version 3) with this picture as its only tile, the whole Earth. */
function pmtiles(picture) {
  const directory = Buffer.from([1, 0, 1, picture.length, 1]); // one entry: tile 0, a run of 1, its length, offset 0 + 1
  const head = Buffer.alloc(127);
  head.write("PMTiles\x03");
  const sections = [[127, directory.length], [132, 2], [134, 0], [134, picture.length]];
  sections.flat().forEach((number, at) => head.writeBigUInt64LE(BigInt(number), 8 + 8 * at));
  [1, 1, 1].forEach((number, at) => head.writeBigUInt64LE(BigInt(number), 72 + 8 * at));
  Buffer.from([1, 1, 1, 2, 0, 0]).copy(head, 96); // clustered, nothing compressed, PNG, zooms 0 to 0
  [-180e7, -85e7, 180e7, 85e7].forEach((degrees, at) => head.writeInt32LE(degrees, 102 + 4 * at));
  return Buffer.concat([head, directory, Buffer.from("{}"), picture]);
}

describe("the map of the real service", { skip: skip_reason() }, () => {
  let browser;
  const running = [];
  before(async () => { browser = await start_browser(); });
  after(async () => {
    await browser?.close();
    for (const each of running) await each.stop();
  });

  async function open(settings = {}) {
    const service = await start_service({ settings });
    running.push({ stop: () => service.kill() });
    await beat(service.url, { customer: "acme", vehicle: "TRK-1", lat: 48.2, lon: 11.5 });
    return { service, ...(await open_page(browser, `${service.url}/?ll=48.2,11.5&z=5`)) };
  }

  async function host(answer) {
    const other = await other_host(answer);
    running.push(other);
    return other;
  }

  test("with all other hosts blocked the map is whole, and nobody asked for them", async () => {
    const service = await start_service();
    running.push({ stop: () => service.kill() });
    await beat(service.url, { customer: "acme", vehicle: "TRK-1", lat: 48.2, lon: 11.5 });
    const blocked = [];
    const prepare = (page) => page.context().route((url) => url.host !== new URL(service.url).host, (route) => {
      blocked.push(route.request().url());
      return route.abort();
    });
    const { page, errors } = await open_page(browser, service.url, { prepare, colorScheme: "dark" });
    await on_map(page, 1);
    await until("the coast", async () => (await pixels(page, { land: [29, 43, 58] })).land > 1_000);
    assert.deepEqual([blocked, errors], [[], []]);
  });

  test("the operator's style is drawn instead of the built-in map, from its host only", async () => {
    const other = await host((request, response) => response.end(JSON.stringify(STYLE)));
    const { page, errors } = await open({ MAP__STYLE_URL: `${other.url}/style.json` });
    await on_map(page, 1);
    await until("blue", async () => (await pixels(page, { blue: [0, 0, 255] })).blue > 10_000);
    assert.deepEqual([other.asked, errors], [["/style.json"], []]);
  });

  test("a style that cannot be read is named, and the built-in map comes instead", async () => {
    const other = await host((request, response) => response.writeHead(404).end());
    const { page } = await open({ MAP__STYLE_URL: `${other.url}/style.json` });
    await page.getByText("cannot be used: it answers 404. This is the built-in map.").waitFor();
    await on_map(page, 1);
  });

  test("a file of tiles on the server's disk is drawn, with no other host", async () => {
    const folder = mkdtempSync(join(tmpdir(), "rollcall-map-"));
    running.push({ stop: () => rmSync(folder, { recursive: true }) });
    writeFileSync(join(folder, "earth.pmtiles"), pmtiles(PNG));
    const { page, errors, requests, service } = await open({ MAP__PMTILES: join(folder, "earth.pmtiles") });
    await on_map(page, 1);
    await until("red", async () => (await pixels(page, { red: [255, 0, 0] })).red > 10_000);
    assert.deepEqual([...new Set(requests.map((url) => new URL(url).host))], [new URL(service.url).host]);
    assert.deepEqual(errors, []);
  });

  test("a file of tiles that is none is said, and the built-in map comes instead", async () => {
    const { page } = await open({ MAP__PMTILES: fileURLToPath(import.meta.url) });
    await page.getByText("The file of map tiles cannot be read. This is the built-in map.").waitFor();
    await on_map(page, 1);
  });

  test("the operator's tiles lie over the built-in map, and their maker is named", async () => {
    const other = await host((request, response) => response.setHeader("content-type", "image/png").end(PNG));
    const { page, errors } = await open({ MAP__RASTER_TILES: `${other.url}/{z}/{x}/{y}.png`, MAP__ATTRIBUTION: "© <i>Somebody</i>" });
    await on_map(page, 1);
    await until("red", async () => (await pixels(page, { red: [255, 0, 0] })).red > 10_000);
    await page.getByText("Made with Natural Earth · © <i>Somebody</i>").waitFor();
    assert.ok(other.asked.every((url) => /^\/[456]\/\d+\/\d+\.png$/.test(url)), `${other.asked}`);
    assert.deepEqual(errors, []);
  });
});
