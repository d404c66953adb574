/** The map's arithmetic: places, boxes, what is below the pointer, the columns it draws from, and the built-in style. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Fleet } from "../../web/js/fleet.js";
import { bounds_of, lat_of, lon_of, pixel_of, scale_of, vehicle_at, vehicles_in, x_of, y_of, zoom_of_width } from "../../web/js/map-place.js";
import { uncrowded } from "../../web/js/map-labels.js";
import { size_of } from "../../web/js/map-points.js";
import { MapSource } from "../../web/js/map-source.js";
import { NO_LAYERS, street_layers } from "../../web/js/map-tiles.js";
import { address_of, start_of } from "../../web/js/map-camera.js";
import { built_in, channels, credit, graticule, paints } from "../../web/js/map-style.js";
import { cost_ms } from "./cost.mjs";

const ONLINE = 0;
const OFFLINE = 1;
const METRE = 360 / 40_075_017; // in degrees at the equator

/** Columns of [lat, lon, status, visible]. */
function columns(...vehicles) {
  const of = (array, value) => array.from(vehicles, value);
  return {
    count: vehicles.length, version: 1,
    x: of(Int32Array, ([, lon]) => x_of(lon)), y: of(Int32Array, ([lat]) => y_of(lat)),
    status: of(Uint8Array, ([, , status = ONLINE]) => status), visible: of(Uint8Array, ([, , , visible = 1]) => visible),
  };
}

const camera = (lat, lon, zoom) => ({ x: x_of(lon), y: y_of(lat), scale: scale_of(zoom), width: 800, height: 600 });

test("a place survives the way to whole numbers and back within 2 cm", () => {
  for (const [lat, lon] of [[0, 0], [51.50736, -0.12765], [-33.86, 151.21], [85, 179.999999], [-85, -180], [64.1, -21.9]]) {
    assert.ok(Math.abs(lat_of(y_of(lat)) - lat) < 0.02 * METRE + 1e-7, `${lat}`);
    assert.ok(Math.abs(lon_of(x_of(lon)) - lon) < 0.02 * METRE + 1e-7, `${lon}`);
  }
});

test("both sides of the date line are one place, and the poles stay on the map", () => {
  assert.equal(x_of(180), x_of(-180));
  assert.ok(Math.abs(((x_of(179.9) + x_of(0.2)) | 0) - x_of(-179.9)) <= 1);
  for (const lat of [90, -90, 89.9]) assert.ok(Math.abs(y_of(lat)) < 2 ** 31 && Number.isInteger(y_of(lat)));
});

test("one turn of the Earth is 512 pixels at zoom 0, and the least zoom fills the pane with one Earth", () => {
  assert.equal(scale_of(0) * 2 ** 32, 512);
  assert.equal(zoom_of_width(1_024), 1);
  assert.equal(zoom_of_width(100), 0);
});

test("a vehicle a metre away is pixels away at street zoom: no float has lost it", () => {
  const here = camera(51.5, -0.1, 19);
  const { x, y } = pixel_of(columns([51.5, -0.1 + METRE]), 0, here);
  assert.ok(x - 400 > 6.5 && x - 400 < 6.9, `${x}`);
  assert.ok(Math.abs(y - 300) < 0.1);
});

test("east of the date line is to the right of its west", () => {
  const { x } = pixel_of(columns([0, -179.5]), 0, camera(0, 179.5, 5));
  assert.ok(Math.abs(x - (400 + (512 * 32) / 360)) < 0.01, `${x}`);
});

test("the box holds the visible vehicles only, and is the shorter one across the date line", () => {
  const [[west, south], [east, north]] = bounds_of(columns([10, 20], [30, 60], [80, 100, ONLINE, 0]));
  assert.deepEqual([west, south, east, north].map(Math.round), [20, 10, 60, 30]);
  const [[fiji], [samoa]] = bounds_of(columns([-18, 178], [-14, -172]));
  assert.deepEqual([fiji, samoa].map(Math.round), [178, 188]);
  assert.equal(bounds_of(columns([1, 1, ONLINE, 0])), null);
});

test("the pointer finds the nearest vehicle, the offline one on top, and none that is filtered out", () => {
  const here = camera(50, 10, 10);
  const at = (dx) => 10 + (dx * 360) / (512 * 1_024);
  const fleet = columns([50, at(0)], [50, at(6)], [50, at(6), OFFLINE], [50, at(20), ONLINE, 0], [50, at(30)]);
  assert.equal(vehicle_at(fleet, here, { x: 401, y: 300 }, 8), 0);
  assert.equal(vehicle_at(fleet, here, { x: 406, y: 300 }, 8), 2);
  assert.equal(vehicle_at(fleet, here, { x: 420, y: 300 }, 8), -1);
  assert.equal(vehicle_at(fleet, here, { x: 430, y: 307 }, 8), 4);
  assert.equal(vehicle_at(fleet, here, { x: 430, y: 320 }, 8), -1);
});

test("a scan of 100,000 for the pointer is quicker than a frame", () => {
  const many = columns(...Array.from({ length: 100_000 }, (_, at) => [50 + Math.sin(at), 10 + Math.cos(at)]));
  const ten_ms = cost_ms(() => {
    for (let times = 0; times < 10; times++) vehicle_at(many, camera(50, 10, 8), { x: 400, y: 300 }, 8);
  });
  assert.ok(ten_ms / 10 < 16, `${ten_ms / 10} ms`);
});

test("vehicles in sight are listed until they are too many", () => {
  const fleet = columns([50, 10], [50, 10.1], [50, 10, ONLINE, 0], [0, 0]);
  assert.deepEqual(vehicles_in(fleet, camera(50, 10, 8), 10), [0, 1]);
  assert.equal(vehicles_in(fleet, camera(50, 10, 8), 1), null);
});

test("vehicles in a crowd carry no arrow and no name", () => {
  const fleet = columns([50, 10], [50, 10], [50, 10], [50, 11], [50, 11]);
  assert.deepEqual(uncrowded(fleet, [0, 1, 2, 3, 4], camera(50, 10.5, 8)), [3, 4]);
});

test("the columns follow the fleet: filters, removals, vehicles without a place, growth, and another fleet", () => {
  const fleet = new Fleet();
  const place = (lat, lon) => ({ lat, lon });
  const of = (vehicle, position) => ({ customer: "acme", vehicle, status: "online", position });
  fleet.join_vehicles([of("A", place(0, 0)), of("B", place(40, 50)), of("C", null)]);
  fleet.show_only(Uint32Array.of(0, 1, 2));
  const source = new MapSource();
  assert.equal(source.refresh(fleet), true);
  assert.deepEqual([...source.columns.visible.subarray(0, 3)], [1, 1, 0]);
  assert.deepEqual([source.shown, source.columns.count, source.columns.x[1], source.columns.y[1]], [2, 3, x_of(50), y_of(40)]);
  assert.equal(source.refresh(fleet), false, "nothing happened");
  const { version } = source.columns;
  fleet.show_only(Uint32Array.of(1));
  assert.equal(source.refresh(fleet), true);
  assert.notEqual(source.columns.version, version);
  assert.deepEqual([...source.columns.visible.subarray(0, 3)], [0, 1, 0]);
  fleet.leave([1]);
  source.refresh(fleet);
  assert.equal(source.shown, 0);
  fleet.join_vehicles(Array.from({ length: 3_000 }, (_, at) => of(`N${at}`, place(1, at / 100))));
  fleet.show_only(Uint32Array.from(fleet.slots()));
  source.refresh(fleet);
  assert.deepEqual([source.shown, source.columns.x[3_002]], [3_001, x_of(29.99)]);
  const other = new Fleet();
  other.join_vehicles([{ customer: "birch", vehicle: "X", status: "online", position: place(5, 6) }]);
  other.show_only(Uint32Array.of(0));
  source.refresh(other);
  assert.deepEqual([source.shown, source.columns.count, source.columns.x[0], source.key(0)], [1, 1, x_of(6), "birch/X"]);
});

const NOTHING = { style_url: null, raster_tiles: null, attribution: null, pmtiles: null };
const GROUND = { land: "#111111", sea: "#222222", line: "#333333", text: "#444444" };

test("the built-in style names no host, and every layer of it can be painted anew", () => {
  const style = built_in(GROUND, NOTHING, NO_LAYERS);
  assert.doesNotMatch(JSON.stringify(style), /https?:|glyphs|sprite/);
  assert.deepEqual(style.layers.map(({ id }) => id).sort(), Object.keys(paints(GROUND, NO_LAYERS)).sort());
  assert.deepEqual(style.layers[0].paint, { "background-color": "#222222" });
});

test("the operator's tiles lie over the built-in map, with their maker named as text", () => {
  const choice = { ...NOTHING, raster_tiles: "https://tiles.test/{z}/{x}/{y}.png", attribution: "© <b>Somebody</b>" };
  const style = built_in(GROUND, choice, NO_LAYERS);
  assert.equal(style.layers.at(-1).id, "tiles");
  assert.deepEqual(style.sources.tiles.tiles, [choice.raster_tiles]);
  assert.equal(credit(choice, true), "Made with Natural Earth · © <b>Somebody</b>");
  assert.equal(credit(NOTHING, false), "");
});

test("of a file of streets the layers that are there are drawn, whatever its makers call them", () => {
  const ids = (...known) => street_layers(known, GROUND).map(({ id }) => id);
  assert.deepEqual(ids("roads", "water", "pois"), ["file-water", "file-roads"]);
  assert.deepEqual(ids("transportation", "place"), ["file-transportation", "file-place"]);
  assert.deepEqual(ids(), []);
  const file = { sources: { file: {} }, layers: (ground) => street_layers(["streets"], ground) };
  assert.equal(built_in(GROUND, NOTHING, file).layers.at(-1)["source-layer"], "streets");
  assert.equal(paints({ ...GROUND, line: "#abcdef" }, file)["file-streets"]["line-color"], "#abcdef");
});

test("the map begins at the place of the address, else at the vehicles, else at the Earth", () => {
  const box = [[1, 2], [3, 4]];
  assert.deepEqual(start_of({ ll: "51.5,-0.1", z: "8.5" }, box), { center: [-0.1, 51.5], zoom: 8.5 });
  assert.deepEqual(start_of({ ll: "", z: "8" }, box).bounds, box);
  assert.equal(start_of({ ll: "", z: "" }, null).zoom, 1);
  assert.deepEqual(address_of({ lat: 51.5, lng: 190.25 }, 3.14), { ll: "51.5000,-169.7500", z: "3.1" });
});

test("lines of the compass reach across the map", () => {
  const { coordinates } = graticule(30);
  assert.equal(coordinates.length, 13 + 5);
  assert.ok(coordinates.every(([[lon, lat], [to_lon, to_lat]]) => lon === to_lon || lat === to_lat));
});

test("points grow with the zoom, within limits; colours become channels", () => {
  assert.deepEqual([size_of(0), size_of(19)], [4, 16]);
  assert.ok(size_of(10) > size_of(5));
  assert.deepEqual(channels(" #ff0080"), [1, 0, 128 / 255]);
  assert.equal(channels("red").length, 3);
});
