/**
 * Where the map looks: at the place of the address or at all vehicles, and the button that leads back to them.
 * Fed by map.js with the address and the box around the vehicles; feeds MapLibre.
 */

/** Nearer than this a single vehicle would stand in an empty map. */
export const FIT = { padding: 48, maxZoom: 11 };
/** Until there is a vehicle to look at. */
export const NOWHERE = { center: /** @type {[number, number]} */ ([0, 20]), zoom: 1 };

/** Four decimals are 11 m: enough to find a yard. @param {{lat: number, lng: number}} centre @param {number} zoom */
export function address_of(centre, zoom) {
  const lon = ((((centre.lng + 180) % 360) + 360) % 360) - 180; // MapLibre counts on past the date line
  return { ll: `${centre.lat.toFixed(4)},${lon.toFixed(4)}`, z: zoom.toFixed(1) };
}

/**
 * The place of the address, or else all vehicles.
 * @param {{ll: string, z: string}} camera
 * @param {[[number, number], [number, number]]|null} bounds
 */
export function start_of({ ll, z }, bounds) {
  if (ll === "") return bounds === null ? NOWHERE : { bounds, fitBoundsOptions: FIT };
  const [lat, lon] = ll.split(",").map(Number);
  return { center: /** @type {[number, number]} */ ([lon, lat]), zoom: z === "" ? FIT.maxZoom : Number(z) };
}

/** A control of MapLibre: shows all vehicles again. @param {() => void} on_click */
export function fit_button(on_click) {
  const group = document.createElement("div");
  group.className = "maplibregl-ctrl maplibregl-ctrl-group";
  const button = group.appendChild(document.createElement("button"));
  button.type = "button";
  button.id = "map-fit";
  button.textContent = "All";
  button.ariaLabel = "Show all vehicles in sight";
  button.addEventListener("click", on_click);
  return { onAdd: () => group, onRemove: () => group.remove() };
}
