/**
 * What the built-in map looks like, as a MapLibre style: land, borders, lines of the compass, and over them the
 * operator's tiles when there are any. Pure.
 * Fed by map.js with the colours of the page and the operator's choice; read by MapLibre.
 */

/** @typedef {import("maplibre-gl").StyleSpecification} Style */
/**
 * What the operator set.
 * @typedef {{style_url: string|null, raster_tiles: string|null, attribution: string|null, pmtiles: string|null}} Choice
 */
/** @typedef {{land: string, sea: string, line: string, text: string}} Ground  colours */

/** Coarse first: 29 KB instead of 209. */
export const COARSE = "/data/base-110m.json";
export const FINE = "/data/base-50m.json";
/** Nearer than this the coarse coast looks wrong. */
export const FINE_FROM_ZOOM = 3.5;
/** Nearer than this the built-in map has nothing more to show. */
export const EMPTY_FROM_ZOOM = 7;

/** How far the lines are apart in degrees, and from which zoom on. */
const GRATICULES = [
  { every: 30, minzoom: 0 },
  { every: 10, minzoom: 3.5 },
  { every: 1, minzoom: 7 },
];

/** Meridians and parallels. Straight on this map, so two points each. @param {number} every degrees */
export function graticule(every) {
  const steps = (/** @type {number} */ end) =>
    Array.from({ length: 2 * Math.floor(end / every) + 1 }, (_, at) => (at - Math.floor(end / every)) * every);
  const meridians = steps(180).map((lon) => [[lon, -85], [lon, 85]]); // prettier-ignore
  const parallels = steps(85).map((lat) => [[-180, lat], [180, lat]]); // prettier-ignore
  return { type: /** @type {const} */ ("MultiLineString"), coordinates: [...meridians, ...parallels] };
}

/**
 * The paint of each layer of ours: what changes with the theme.
 * @param {Ground} ground
 * @param {import("./map-tiles.js").Layers} file
 */
export function paints(ground, file) {
  const line = { "line-color": ground.line, "line-opacity": 0.45 };
  const lines = GRATICULES.map(({ every }) => [`graticule-${every}`, line]);
  return /** @type {Record<string, Record<string, any>>} */ ({
    sea: { "background-color": ground.sea },
    land: { "fill-color": ground.land },
    ...Object.fromEntries(lines),
    borders: { "line-color": ground.line, "line-width": 0.8 },
    ...Object.fromEntries(file.layers(ground).map(({ id, paint }) => [id, paint])),
  });
}

/**
 * @param {Ground} ground
 * @param {Choice} choice
 * @param {import("./map-tiles.js").Layers} file the operator's file of tiles as a source and layers
 * @returns {Style}
 */
export function built_in(ground, choice, file) {
  const paint = paints(ground, file);
  const lines = GRATICULES.map(({ every, minzoom }) => {
    const id = `graticule-${every}`;
    return { id, type: "line", source: id, minzoom, paint: paint[id] };
  });
  const of_kind = (/** @type {string} */ kind) => ["==", ["get", "kind"], kind];
  const style = {
    version: 8,
    sources: {
      base: { type: "geojson", data: COARSE },
      ...Object.fromEntries(
        GRATICULES.map(({ every }) => [`graticule-${every}`, { type: "geojson", data: graticule(every) }]),
      ),
    },
    layers: [
      { id: "sea", type: "background", paint: paint.sea },
      { id: "land", type: "fill", source: "base", filter: of_kind("land"), paint: paint.land },
      ...lines,
      { id: "borders", type: "line", source: "base", filter: of_kind("border"), paint: paint.borders },
    ],
  };
  if (choice.raster_tiles !== null) {
    Object.assign(style.sources, { tiles: { type: "raster", tiles: [choice.raster_tiles], tileSize: 256 } });
    style.layers.push(/** @type {any} */ ({ id: "tiles", type: "raster", source: "tiles" }));
  }
  Object.assign(style.sources, file.sources);
  style.layers.push(...file.layers(ground));
  return /** @type {Style} */ (style);
}

/** Who made what is drawn, as text. @param {Choice} choice @param {boolean} own the built-in map is below */
export function credit(choice, own) {
  return [own ? "Made with Natural Earth" : "", choice.attribution ?? ""].filter((part) => part !== "").join(" · ");
}

/** "#3ccb7f" as red, green, blue from 0 to 1. @param {string} colour */
export function channels(colour) {
  const digits = /^#([0-9a-f]{6})$/i.exec(colour.trim())?.[1] ?? "888888";
  return [0, 2, 4].map((at) => parseInt(digits.slice(at, at + 2), 16) / 255);
}
