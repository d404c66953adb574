/**
 * Places as the map computes with them: Web Mercator in whole numbers, a full turn of the Earth being 2^32 steps of
 * about 1 cm. East of the date line the number overflows into the west, as the Earth does. Pure.
 * Fed by map-source.js and map.js with degrees; read by everything that draws or finds points.
 */

/** Steps around the Earth. */
export const WORLD = 2 ** 32;
/** Pixels around the Earth at zoom 0, as MapLibre counts. */
const WORLD_PX = 512;
/** Where Web Mercator ends: the map is a square. */
const LATITUDE_MAX = 85.051;
const EDGE = 2 ** 31 - 1;

/** @param {number} lon degrees */
export const x_of = (lon) => Math.round((lon / 360) * WORLD) | 0;

/** Downwards, 0 at the equator. @param {number} lat degrees */
export function y_of(lat) {
  const radians = (Math.max(-LATITUDE_MAX, Math.min(LATITUDE_MAX, lat)) * Math.PI) / 180;
  const turns = -Math.asinh(Math.tan(radians)) / (2 * Math.PI);
  return Math.max(-EDGE, Math.min(EDGE, Math.round(turns * WORLD)));
}

/** @param {number} x */
export const lon_of = (x) => (x / WORLD) * 360;

/** @param {number} y */
export const lat_of = (y) => (Math.atan(Math.sinh((-y / WORLD) * 2 * Math.PI)) * 180) / Math.PI;

/** Pixels a step. @param {number} zoom */
export const scale_of = (zoom) => (WORLD_PX * 2 ** zoom) / WORLD;

/** The zoom at which the Earth is as wide as the pane: below, a place would be there twice. @param {number} width */
export const zoom_of_width = (width) => Math.max(0, Math.log2(Math.max(1, width) / WORLD_PX));

/**
 * @typedef {object} Columns  the vehicles as the map reads them, one slot a vehicle
 * @property {number} count        slots in use
 * @property {Int32Array} x
 * @property {Int32Array} y
 * @property {Uint8Array} status   index into STATUSES (fleet.js)
 * @property {Uint8Array} visible  1: on the map; 0: filtered out, gone, or without a position
 * @property {number} version      another number after every change
 */

/**
 * The smallest box around the visible vehicles, also across the date line; null when there is none.
 * @param {Columns} columns
 * @returns {[[number, number], [number, number]]|null} south-west and north-east as lon, lat; the east may exceed 180
 */
export function bounds_of({ count, x, y, visible }) {
  let [west, east, far_west, far_east, north, south] = [EDGE, -EDGE - 1, EDGE, -EDGE - 1, EDGE, -EDGE - 1];
  let found = false;
  for (let slot = 0; slot < count; slot++) {
    if (visible[slot] === 0) continue;
    found = true;
    const turned = (x[slot] + 2 ** 31) | 0; // as seen from the other side of the Earth
    if (x[slot] < west) west = x[slot];
    if (x[slot] > east) east = x[slot];
    if (turned < far_west) far_west = turned;
    if (turned > far_east) far_east = turned;
    if (y[slot] < north) north = y[slot];
    if (y[slot] > south) south = y[slot];
  }
  if (!found) return null;
  const shorter = far_east - far_west < east - west;
  const [left, right] = shorter ? [far_west + 2 ** 31, far_east + 2 ** 31] : [west, east];
  return [
    [lon_of(left), lat_of(south)],
    [lon_of(right), lat_of(north)],
  ];
}

/**
 * Centre, pixels a step, size of the pane.
 * @typedef {{x: number, y: number, scale: number, width: number, height: number}} Camera
 */

/**
 * Where a vehicle is in the pane, in pixels from its top left.
 * @param {Columns} columns
 * @param {number} slot
 * @param {Camera} camera
 */
export function pixel_of({ x, y }, slot, camera) {
  return {
    x: camera.width / 2 + ((x[slot] - camera.x) | 0) * camera.scale,
    y: camera.height / 2 + ((y[slot] - camera.y) | 0) * camera.scale,
  };
}

/** Offline vehicles are drawn on top, so they are also found first: by this many pixels. */
const ON_TOP_PX = 2;
const OFFLINE = 1;

/**
 * The vehicle at a pixel, or -1. One pass over the arrays: 100,000 take about 0.2 ms.
 * @param {Columns} columns
 * @param {Camera} camera
 * @param {{x: number, y: number}} pixel
 * @param {number} radius pixels
 */
export function vehicle_at({ count, x, y, status, visible }, camera, pixel, radius) {
  const reach = radius / camera.scale;
  const [at_x, at_y] = [pixel.x - camera.width / 2, pixel.y - camera.height / 2].map((px) => px / camera.scale);
  let best = -1;
  let best_distance = radius;
  for (let slot = 0; slot < count; slot++) {
    if (visible[slot] === 0) continue;
    const dx = ((x[slot] - camera.x) | 0) - at_x;
    if (dx > reach || dx < -reach) continue;
    const dy = ((y[slot] - camera.y) | 0) - at_y;
    if (dy > reach || dy < -reach) continue;
    const px = Math.hypot(dx, dy) * camera.scale;
    if (px > radius) continue;
    const distance = status[slot] === OFFLINE ? px - ON_TOP_PX : px;
    if (distance < best_distance) [best, best_distance] = [slot, distance];
  }
  return best;
}

/**
 * The visible vehicles in the pane, or null when they are more than the limit.
 * @param {Columns} columns
 * @param {Camera} camera
 * @param {number} limit
 * @returns {number[]|null}
 */
export function vehicles_in({ count, x, y, visible }, camera, limit) {
  const reach_x = camera.width / 2 / camera.scale;
  const reach_y = camera.height / 2 / camera.scale;
  /** @type {number[]} */
  const found = [];
  for (let slot = 0; slot < count; slot++) {
    if (visible[slot] === 0) continue;
    if (Math.abs((x[slot] - camera.x) | 0) > reach_x || Math.abs((y[slot] - camera.y) | 0) > reach_y) continue;
    if (found.length === limit) return null;
    found.push(slot);
  }
  return found;
}
