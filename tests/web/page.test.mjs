/** The files of web/ as they are shipped: few modules, all preloaded, nothing from elsewhere, nothing inline, nothing that parses text as HTML. */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const WEB = new URL("../../web/", import.meta.url);
const read = (path) => readFileSync(new URL(path, WEB), "utf8");
const HTML = read("index.html");
const SCRIPTS = readdirSync(new URL("js/", WEB));

/** What app.js imports at once, directly or not; what it imports later is lazy. */
function first_paint(name = "app.js", found = new Set()) {
  if (found.has(name)) return found;
  found.add(name);
  for (const [, next] of read(`js/${name}`).matchAll(/^(?:import|export)[^;]*? from "\.\/([\w-]+\.js)";/gm)) first_paint(next, found);
  return found;
}

test("at most 15 first-paint modules, and the page names every one of them", () => {
  const modules = first_paint();
  assert.ok(modules.size > 5 && modules.size <= 15, `${modules.size} modules`);
  for (const name of modules) {
    const tag = name === "app.js" ? `<script type="module" src="/js/app.js">` : `<link rel="modulepreload" href="/js/${name}">`;
    assert.ok(HTML.includes(tag), `index.html lacks ${tag}`);
  }
});

test("the map is loaded after the first rows, never with them", () => {
  assert.ok(SCRIPTS.includes("map.js"));
  assert.deepEqual([...first_paint()].filter((name) => name.startsWith("map")), []);
  assert.doesNotMatch(HTML, /js\/map|vendor\//);
});

test("no inline script, style or handler", () => {
  assert.doesNotMatch(HTML, /<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)/i);
});

test("text is only ever written as text", () => {
  for (const name of SCRIPTS) {
    assert.doesNotMatch(read(`js/${name}`), /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|setHTML/, name);
  }
});

test("no file names another host", () => {
  for (const path of ["index.html", "app.css", "favicon.svg", ...SCRIPTS.map((name) => `js/${name}`)]) {
    const hosts = read(path).match(/(https?:)?\/\/[a-z0-9-]+\.[a-z0-9.]+/gi) ?? [];
    assert.deepEqual(hosts.filter((host) => host !== "http://www.w3.org"), [], path); // the SVG name space is a name, not an address
  }
});

test("only live.js, reads.js and, for its settings, the map talk to the network", () => {
  for (const name of SCRIPTS.filter((each) => !["live.js", "reads.js", "map-settings.js"].includes(each))) {
    assert.doesNotMatch(read(`js/${name}`), /\bfetch\(|new WebSocket|XMLHttpRequest|EventSource/, name);
  }
});

test("every file begins by saying what it is, and stays short", () => {
  for (const name of SCRIPTS) {
    const text = read(`js/${name}`);
    assert.ok(text.startsWith("/**"), name);
    assert.ok(text.split("\n").length <= 250, `${name} is too long`);
  }
});
