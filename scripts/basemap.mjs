#!/usr/bin/env node
/**
 * Makes the built-in base map, web/data/base-110m.json and base-50m.json, from Natural Earth (public domain) as packed by
 * world-atlas. For developers only; what it writes is committed. npm install && node scripts/basemap.mjs
 *
 * world-atlas holds polygons on a globe, and a flat map would fill the wrong side of those that cross the date line. So
 * they are stitched, cut at 180 degrees by d3-geo's equirectangular projection, and rounded to 2 decimals (about 1 km,
 * finer than the drawing). Borders are a mesh of their own: drawn from polygons, each would be there twice, and with it
 * the artificial edge along the date line.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { geoEquirectangular } from "d3-geo";
import { geoProject, geoStitch } from "d3-geo-projection";
import { feature, mesh } from "topojson-client";
import { compress } from "./compress.mjs";

const DATA = new URL("../web/data/", import.meta.url);
const atlas = createRequire(import.meta.url).resolve;
/** Where Web Mercator ends. */
const LATITUDE_MAX = 85.05;

/** One unit a degree, y downwards: cutting is all we want of it. */
const flat = () => geoEquirectangular().scale(180 / Math.PI).translate([0, 0]).precision(0);
const round = (value) => Math.round(value * 100) / 100 + 0; // + 0: no minus zero
const point = ([x, y]) => [round(x), Math.max(-LATITUDE_MAX, Math.min(LATITUDE_MAX, round(-y)))];
const line = (points) => points.map(point).filter(([x, y], at, all) => at === 0 || x !== all[at - 1][0] || y !== all[at - 1][1]);

function polygons(geometry) {
  const all = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
  // What rounding shrank to less than a triangle would draw nothing.
  return all.map((rings) => rings.map(line).filter((ring) => ring.length > 3)).filter((rings) => rings.length > 0);
}

/** @param {"110m"|"50m"} scale @returns {string} the file */
export function base_map(scale) {
  const topology = JSON.parse(readFileSync(atlas(`world-atlas/countries-${scale}.json`), "utf8"));
  const land = geoProject(geoStitch(feature(topology, topology.objects.land)), flat());
  const borders = geoProject(mesh(topology, topology.objects.countries, (one, other) => one !== other), flat());
  const coordinates = (land.features ?? [land]).flatMap((each) => polygons(each.geometry ?? each));
  const lines = (borders.geometry ?? borders).coordinates.map(line).filter((each) => each.length > 1);
  const features = [
    { type: "Feature", properties: { kind: "land" }, geometry: { type: "MultiPolygon", coordinates } },
    { type: "Feature", properties: { kind: "border" }, geometry: { type: "MultiLineString", coordinates: lines } },
  ];
  return JSON.stringify({ type: "FeatureCollection", features });
}

function main() {
  mkdirSync(DATA, { recursive: true });
  writeFileSync(new URL("LICENSE-world-atlas.txt", DATA), readFileSync(atlas("world-atlas/LICENSE")));
  for (const scale of /** @type {const} */ (["110m", "50m"])) {
    const path = fileURLToPath(new URL(`base-${scale}.json`, DATA));
    writeFileSync(path, base_map(scale));
    compress(path);
    console.log(path);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
