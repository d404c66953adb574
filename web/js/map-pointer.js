/**
 * The pointer on the map: the vehicle below it is named beside it, and a click opens it.
 * Fed by MapLibre's pointer events; asks map-place.js which vehicle it is; tells map.js.
 */
import { vehicle_at } from "./map-place.js";

/** @typedef {import("maplibre-gl").Map} MapLibre */
/** @typedef {import("./map-source.js").MapSource} MapSource */

/** How near is near enough, in pixels: a finger is wider than a mouse. */
const REACH_PX = { fine: 8, coarse: 18 };

/**
 * @param {MapLibre} map
 * @param {MapSource} source
 * @param {HTMLElement} hint shows the name
 * @param {{camera: () => import("./map-place.js").Camera, open: (key: string) => void}} page
 */
export function follow_pointer(map, source, hint, { camera, open }) {
  const reach = matchMedia("(pointer: coarse)").matches ? REACH_PX.coarse : REACH_PX.fine;
  const below = (/** @type {{x: number, y: number}} */ pixel) => vehicle_at(source.columns, camera(), pixel, reach);
  const hide = () => {
    hint.hidden = true;
    map.getCanvas().style.cursor = "";
  };
  map.on("mousemove", ({ point }) => {
    const slot = below(point);
    if (slot < 0) return hide();
    hint.hidden = false;
    hint.textContent = source.title(slot); // text, whatever a vehicle calls itself
    hint.style.transform = `translate(${Math.round(point.x)}px, ${Math.round(point.y)}px)`;
    map.getCanvas().style.cursor = "pointer";
  });
  map.on("mouseout", hide);
  map.on("movestart", hide);
  map.on("click", ({ point }) => {
    const slot = below(point);
    if (slot >= 0) open(source.key(slot));
  });
}
