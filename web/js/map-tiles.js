/**
 * The operator's PMTiles file as layers of the map: pictures as they are, streets drawn in the colours of the page.
 * Fed by the file, in pieces (map.pmtiles); feeds map-style.js. Names need no font file: MapLibre draws them from the
 * system's. It knows three common ways of naming things in tiles: Protomaps, OpenMapTiles, Shortbread.
 */

/** @typedef {import("./map-style.js").Ground} Ground */
/** @typedef {{sources: Record<string, any>, layers: (ground: Ground) => any[]}} Layers */

const READER = "/vendor/pmtiles@4.5.0/pmtiles.js";
/** The header's word for vector tiles. */
const VECTOR = 1;
const SOURCE = "file";
/** @type {Layers} */
export const NO_LAYERS = { sources: {}, layers: () => [] };

const KIND = ["coalesce", ["get", "kind"], ["get", "class"], ["get", "type"], ""];
const MAJOR = ["highway", "major_road", "motorway", "trunk", "primary"];
const of_kind = (/** @type {string[]} */ kinds) => ["in", KIND, ["literal", kinds]];
/** Width in pixels at three zooms; major roads are twice as wide. */
const ROAD_WIDTH = [
  ...["interpolate", ["exponential", 1.6], ["zoom"]],
  ...[6, ["case", of_kind(MAJOR), 0.8, 0.2], 12, ["case", of_kind(MAJOR), 2.4, 0.8]],
  ...[18, ["case", of_kind(MAJOR), 18, 9]],
];

/**
 * What is drawn of which layer of a file, below first.
 * @type {{names: string[], type: string, filter?: any, layout?: any, paint: (ground: Ground) => any}[]}
 */
const DRAWN = [
  { names: ["earth"], type: "fill", paint: ({ land }) => ({ "fill-color": land }) },
  {
    names: ["water", "water_polygons", "ocean"],
    type: "fill",
    filter: ["==", ["geometry-type"], "Polygon"],
    paint: ({ sea }) => ({ "fill-color": sea }),
  },
  {
    names: ["buildings", "building"],
    type: "fill",
    paint: ({ line }) => ({ "fill-color": line, "fill-opacity": 0.3 }),
  },
  {
    names: ["roads", "transportation", "streets"],
    type: "line",
    layout: { "line-cap": "round", "line-join": "round" },
    paint: ({ line }) => ({ "line-color": line, "line-width": ROAD_WIDTH }),
  },
  {
    names: ["boundaries", "boundary"],
    type: "line",
    paint: ({ text }) => ({ "line-color": text, "line-opacity": 0.5, "line-dasharray": [3, 2] }),
  },
  {
    names: ["places", "place", "place_labels"],
    type: "symbol",
    layout: { "text-field": ["get", "name"], "text-size": 12, "text-max-width": 8 },
    paint: ({ text, land }) => ({ "text-color": text, "text-halo-color": land, "text-halo-width": 1.5 }),
  },
];

/**
 * The layers of a vector file that we can draw.
 * @param {string[]} known names of its layers
 * @param {Ground} ground
 */
export function street_layers(known, ground) {
  return DRAWN.flatMap(({ names, type, filter, layout, paint }) =>
    names
      .filter((name) => known.includes(name))
      .map((name) => ({
        ...{ id: `${SOURCE}-${name}`, type, source: SOURCE, "source-layer": name, paint: paint(ground) },
        ...(filter && { filter }),
        ...(layout && { layout }),
      })),
  );
}

/**
 * Reads the head of the file; its tiles are read as the map needs them.
 * @param {any} library MapLibre
 * @param {string} path where the service hands it out
 * @returns {Promise<{layers: Layers, trouble: string}>}
 */
export async function read_tiles(library, path) {
  try {
    const { PMTiles, Protocol } = await reader();
    const archive = new PMTiles(new URL(path, location.href).href);
    const header = await archive.getHeader();
    const { vector_layers = [] } = (await archive.getMetadata()) ?? {};
    const protocol = new Protocol();
    protocol.add(archive);
    library.addProtocol("pmtiles", protocol.tile);
    const url = `pmtiles://${archive.source.getKey()}`;
    const names = vector_layers.map((/** @type {{id: string}} */ { id }) => id);
    return { layers: layers_of(url, header.tileType === VECTOR, names), trouble: "" };
  } catch (error) {
    console.warn("map:", error);
    return { layers: NO_LAYERS, trouble: "The file of map tiles cannot be read. This is the built-in map." };
  }
}

/** @param {string} url @param {boolean} vector @param {string[]} names @returns {Layers} */
const layers_of = (url, vector, names) => ({
  sources: { [SOURCE]: vector ? { type: "vector", url } : { type: "raster", url, tileSize: 256 } },
  layers: (ground) =>
    vector ? street_layers(names, ground) : [{ id: SOURCE, type: "raster", source: SOURCE, paint: {} }],
});

/** The reader is a classic script that leaves one name behind. @returns {Promise<any>} */
function reader() {
  const found = () => /** @type {any} */ (globalThis).pmtiles;
  if (found()) return Promise.resolve(found());
  const script = document.createElement("script");
  script.src = READER;
  return new Promise((done, failed) => {
    script.addEventListener("load", () => done(found()));
    script.addEventListener("error", () => failed(new Error(`cannot load ${READER}`)));
    document.head.append(script);
  });
}
