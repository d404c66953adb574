#!/usr/bin/env node
/**
 * Copies the dashboard's libraries from their npm packages into web/vendor/, beside their licences, each text also
 * compressed; writes web/vendor/VENDOR.json. For developers only: what it writes is committed, so that nobody who builds
 * or runs Rollcall needs npm. After a change of a version in package.json: npm install && node scripts/vendor.mjs
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { compress } from "./compress.mjs";

const ROOT = new URL("../", import.meta.url);
const VENDOR = new URL("web/vendor/", ROOT);
const LIBRARIES = [
  { name: "maplibre-gl", files: ["dist/maplibre-gl.mjs", "dist/maplibre-gl-worker.mjs", "dist/maplibre-gl.css"] },
  { name: "pmtiles", files: ["dist/pmtiles.js"] },
  { name: "uplot", files: ["dist/uPlot.esm.js", "dist/uPlot.min.css"] },
];

const package_folder = (name) => new URL(`node_modules/${name}/`, ROOT);
const manifest = (name) => JSON.parse(readFileSync(new URL("package.json", package_folder(name)), "utf8"));
const licence_file = (name) => readdirSync(package_folder(name)).find((file) => /^licen[cs]e/i.test(file));

/** From its package, or where that has none, from its repository by way of scripts/licences/. */
function licence_text(name) {
  const file = licence_file(name);
  return readFileSync(file ? new URL(file, package_folder(name)) : new URL(`scripts/licences/${name}.txt`, ROOT), "utf8");
}

/** Everything a library bundles, by name: its dependencies and theirs. */
function bundled(name, found = new Set()) {
  for (const inner of Object.keys(manifest(name).dependencies ?? {})) {
    // Types are no code, so nothing of them is in the bundle.
    if (inner.startsWith("@types/") || found.has(inner) || !existsSync(package_folder(inner))) continue;
    bundled(inner, found.add(inner));
  }
  return [...found].sort();
}

/** The licence texts of what is inside the bundle: they have to travel with it. */
function bundled_licences(name) {
  return bundled(name).map((inner) => {
    const { version, license } = manifest(inner);
    const file = licence_file(inner);
    const text = file ? readFileSync(new URL(file, package_folder(inner)), "utf8").trim() : `(${license}; no text in its package)`;
    return `=== ${inner} ${version} (${license}) ===\n\n${text}\n`;
  }).join("\n");
}

function copy(library) {
  const { name, files } = library;
  const { version, license } = manifest(name);
  const folder = `${name}@${version}/`;
  mkdirSync(new URL(folder, VENDOR), { recursive: true });
  const write = (file, content) => writeFileSync(new URL(folder + file, VENDOR), content);
  write("LICENSE.txt", licence_text(name));
  write("LICENSES-bundled.txt", bundled_licences(name));
  return files.map((path) => {
    const content = readFileSync(new URL(path, package_folder(name)));
    const file = folder + basename(path);
    write(basename(path), content);
    compress(fileURLToPath(new URL(file, VENDOR)));
    const sha256 = createHash("sha256").update(content).digest("hex");
    return { file, sha256, licence: license, package: name, version, origin: `npm:${name}@${version}/${path}` };
  });
}

rmSync(VENDOR, { recursive: true, force: true });
mkdirSync(VENDOR, { recursive: true });
const files = LIBRARIES.flatMap(copy);
writeFileSync(new URL("VENDOR.json", VENDOR), `${JSON.stringify({ files }, null, 2)}\n`);
for (const { file, sha256 } of files) console.log(sha256.slice(0, 12), file);
