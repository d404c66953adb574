/**
 * The trail of the open vehicle on the map: a line below the points, dashed where nobody knows the way.
 * Fed by map.js with the trail (trail.js) and the colour of the page; draws through MapLibre.
 */
import { lines_of } from "./trail.js";

const SOURCE = "trail";
const NOTHING = { type: /** @type {const} */ ("FeatureCollection"), features: [] };

export class TrailLines {
  constructor() {
    /** @type {import("maplibre-gl").Map|null} */ this.map = null;
    /** @type {import("./trail.js").Trail|null} */ this.trail = null;
    this.drawn = -1;
  }

  /** @param {import("maplibre-gl").Map} map @param {string} above the layer they lie below */
  add(map, above) {
    this.map = map;
    this.drawn = -1;
    map.addSource(SOURCE, { type: "geojson", data: NOTHING });
    for (const [kind, paint] of /** @type {[string, object][]} */ ([
      ["guess", { "line-width": 2, "line-dasharray": [2, 2] }],
      ["way", { "line-width": 3 }],
    ])) {
      const layout = /** @type {const} */ ({ "line-join": "round", "line-cap": "round" });
      const id = `${SOURCE}-${kind}`;
      map.addLayer({ id, type: "line", source: SOURCE, filter: ["==", ["get", "kind"], kind], layout, paint }, above);
    }
  }

  /** @param {string} colour */
  paint(colour) {
    for (const kind of ["guess", "way"]) this.map?.setPaintProperty(`${SOURCE}-${kind}`, "line-color", colour);
  }

  /** @param {import("./trail.js").Trail} trail */
  draw(trail) {
    if (this.map === null || (trail === this.trail && trail.version === this.drawn)) return;
    this.trail = trail;
    this.drawn = trail.version;
    const source = /** @type {import("maplibre-gl").GeoJSONSource} */ (this.map.getSource(SOURCE));
    source.setData({ ...NOTHING, features: lines_of(trail.places) });
  }
}
