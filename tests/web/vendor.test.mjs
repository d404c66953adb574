/** What was copied or made by scripts: each vendored file is the one that was reviewed, each base map is whole, each compressed twin tells the same. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { base_map } from "../../scripts/basemap.mjs";

const WEB = new URL("../../web/", import.meta.url);
const read = (path) => readFileSync(new URL(path, WEB));
const { files } = JSON.parse(read("vendor/VENDOR.json"));
const PACKAGE = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
/** Served beside a vendored file, or read with it. */
const COMPANION = /\.(br|gz)$|\/LICENSES?(-bundled)?\.txt$|^VENDOR\.json$/;
const below = (folder) => readdirSync(new URL(folder, WEB), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile()).map((entry) => `${entry.parentPath ?? entry.path}/${entry.name}`.replace(/\/+/g, "/").split(`/web/${folder}`)[1]);

test("every vendored file has the hash, the licence and the pinned version that VENDOR.json says", () => {
  assert.ok(files.length >= 3);
  for (const { file, sha256, licence, package: name, version, origin } of files) {
    assert.equal(createHash("sha256").update(read(`vendor/${file}`)).digest("hex"), sha256, file);
    assert.match(licence, /^(MIT|ISC|BSD-[23]-Clause|Apache-2\.0|0BSD)$/, file);
    assert.equal(PACKAGE.devDependencies[name], version, `${name} in package.json`);
    assert.ok(file.startsWith(`${name}@${version}/`), `${file} does not carry its version: it would be cached for ever`);
    assert.ok(origin.startsWith(`npm:${name}@${version}/`));
    assert.ok(existsSync(new URL(`vendor/${name}@${version}/LICENSE.txt`, WEB)), `the licence text of ${name}`);
  }
});

test("nothing lies in web/vendor that VENDOR.json does not name", () => {
  const listed = new Set(files.map(({ file }) => file));
  const strays = below("vendor/").filter((path) => !listed.has(path) && !COMPANION.test(path) && !COMPANION.test(`/${path}`));
  assert.deepEqual(strays, []);
});

test("a compressed file tells exactly what the file tells", () => {
  const plain = [...files.map(({ file }) => `vendor/${file}`), "data/base-110m.json", "data/base-50m.json"];
  for (const path of plain) {
    assert.ok(brotliDecompressSync(read(`${path}.br`)).equals(read(path)), `${path}.br`);
    assert.ok(gunzipSync(read(`${path}.gz`)).equals(read(path)), `${path}.gz`);
  }
});

/** Sizes with brotli; more means that a step of the cutting was lost. */
const LIMITS = { "110m": 32_000, "50m": 225_000 };

for (const [scale, bytes_max] of Object.entries(LIMITS)) {
  test(`the base map ${scale} is what its script makes, small, and cut at the date line`, () => {
    const text = read(`data/base-${scale}.json`).toString();
    assert.ok(text === base_map(scale), "run scripts/basemap.mjs");
    assert.ok(read(`data/base-${scale}.json.br`).length < bytes_max);
    const [land, border] = JSON.parse(text).features;
    assert.ok(land.geometry.coordinates.length > 100 && border.geometry.coordinates.length > 100);
    for (const line of [...land.geometry.coordinates.flat(), ...border.geometry.coordinates]) {
      line.forEach(([x, y], at) => {
        assert.ok(Math.abs(x) <= 180 && Math.abs(y) <= 85.05);
        assert.ok(at === 0 || Math.abs(x - line[at - 1][0]) <= 180, "an edge right across the map");
      });
    }
  });
}
