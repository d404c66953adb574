/**
 * The way one vehicle took: the places it told of, oldest first, and the lines between them. Pure.
 * Fed by drawer-trail.js with kept heartbeats and with what the page hears; drawn by map-trail.js.
 */

/** @typedef {{at: number, lat: number, lon: number, speed_kmh: number|null}} Place  at: epoch ms */
/**
 * @typedef {{type: "Feature", properties: {kind: "way"|"guess"},
 *   geometry: {type: "LineString", coordinates: number[][]}}} Line
 */

/** A page of REST and an hour or two of listening; the oldest are dropped. */
export const PLACES_MAX = 2_000;
/** Nobody told where it was for so long, and it is elsewhere since: the line between is a guess. */
export const GUESS_AFTER_MS = 600_000;
/** Nearer than this it stood still, whatever its receiver thought; in degrees, about 200 m. */
const STOOD_DEG = 0.002;

export class Trail {
  constructor() {
    /** @type {Place[]} */
    this.places = [];
    /** Counts the changes, for those who draw. */
    this.version = 0;
  }

  clear() {
    this.places = [];
    this.version += 1;
  }

  /** What was kept; what was heard since stays. @param {any[]} heartbeats newest first, as REST tells them */
  begin(heartbeats) {
    const kept = heartbeats
      .filter(({ lat, lon }) => typeof lat === "number" && typeof lon === "number")
      .map(({ at, lat, lon, speed_kmh }) => ({ at: Date.parse(at), lat, lon, speed_kmh: speed_kmh ?? null }))
      .reverse();
    const newest = kept.at(-1)?.at ?? -Infinity;
    this.places = [...kept, ...this.places.filter(({ at }) => at > newest)].slice(-PLACES_MAX);
    this.version += 1;
  }

  /** Where it is now; the same place again is no news. @param {Place} place */
  hear(place) {
    const last = this.places.at(-1);
    if (Number.isNaN(place.lat) || Number.isNaN(place.at) || (last && last.at >= place.at)) return;
    if (last && last.lat === place.lat && last.lon === place.lon) return;
    this.places.push(place);
    if (this.places.length > PLACES_MAX) this.places.shift();
    this.version += 1;
  }
}

/**
 * The lines between the places: a way where it told of itself, a guess across a silence.
 * @param {Place[]} places
 * @returns {Line[]}
 */
export function lines_of(places) {
  /** @type {Line[]} */
  const lines = [];
  /** @type {number[][]} */ let way = [];
  let before = places[0];
  let lon = before?.lon ?? 0; // goes on past 180, so that no line leads around the Earth
  const end_way = () => way.length > 1 && lines.push(line("way", way));
  for (const place of places) {
    const from = [lon, before.lat];
    lon = place.lon + 360 * Math.round((lon - place.lon) / 360);
    const moved = Math.max(Math.abs(lon - from[0]), Math.abs(place.lat - before.lat)) > STOOD_DEG;
    if (moved && place.at - before.at > GUESS_AFTER_MS) {
      end_way();
      way = [];
      lines.push(line("guess", [from, [lon, place.lat]]));
    }
    way.push([lon, place.lat]);
    before = place;
  }
  end_way();
  return lines;
}

/** @param {"way"|"guess"} kind @param {number[][]} coordinates @returns {Line} */
const line = (kind, coordinates) => ({
  ...{ type: "Feature", properties: { kind } },
  geometry: { type: "LineString", coordinates },
});
