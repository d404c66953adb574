/**
 * How often moved vehicles are drawn anew: a program that plays a graphics card takes a whole core for it.
 * Read by map.js once its map has something to draw with.
 */

const REDRAW_MS = { hardware: 250, software: 1_000 };
const SOFTWARE = /swiftshader|llvmpipe|softpipe|basic render/i;

/** @param {import("maplibre-gl").Map} map */
export function redraw_ms_of(map) {
  const gl = map.getCanvas().getContext("webgl2");
  const names = gl?.getExtension("WEBGL_debug_renderer_info");
  const renderer = names ? String(gl?.getParameter(names.UNMASKED_RENDERER_WEBGL)) : "";
  return SOFTWARE.test(renderer) ? REDRAW_MS.software : REDRAW_MS.hardware;
}
