/**
 * The map itself: MapLibre with the built-in or the operator's style, and our layer of vehicles on it.
 * Fed by map-pane.js with what is in sight; tells it of clicks, of the camera and of trouble. Loaded only when it is
 * seen.
 */
import { FIT, NOWHERE, address_of, fit_button, start_of } from "./map-camera.js";
import { Labels } from "./map-labels.js";
import { redraw_ms_of } from "./map-pace.js";
import { bounds_of, lat_of, lon_of, pixel_of, scale_of, x_of, y_of, zoom_of_width } from "./map-place.js";
import { follow_pointer } from "./map-pointer.js";
import { PointLayer } from "./map-points.js";
import { MapSource } from "./map-source.js";
import { EMPTY_FROM_ZOOM, FINE, FINE_FROM_ZOOM, built_in, credit, paints } from "./map-style.js";
import { colours_of_page, watch_theme } from "./map-theme.js";
import { NO_LAYERS } from "./map-tiles.js";
import { TrailLines } from "./map-trail.js";

/** @typedef {typeof import("maplibre-gl")} Library */
/** @typedef {import("./map-style.js").Choice} Choice */
/** @typedef {import("./map-style.js").Style} Style */
/**
 * @typedef {object} View  what panes.js gives it
 * @property {import("./fleet.js").Fleet} fleet
 * @property {string} open         key of the open vehicle, or ""
 * @property {import("./trail.js").Trail} trail  of the open vehicle
 * @property {{ll: string, z: string}} camera  from the address
 *
 * @typedef {object} Parts  what of the page is ours
 * @property {HTMLElement} pane          MapLibre's
 * @property {HTMLCanvasElement} canvas  over it, for names
 * @property {HTMLElement} hint          beside the pointer
 * @property {HTMLElement} note          where the map has nothing to show
 * @property {HTMLElement} credit        who made it
 *
 * @typedef {object} Told
 * @property {(key: string) => void} open
 * @property {(ll: string, z: string) => void} look  the user moved the map; "" when it fits the fleet again
 * @property {(text: string) => void} trouble        said, and the map goes on
 * @property {() => void} lost                       the graphics card gave up
 */

/**
 * The vehicles wait for the first picture of the ground: a program that MapLibre has to build after 100,000 points were
 * drawn waits until a software renderer is done with them, and the page with it, for 150 ms. Ground that is slower than
 * this, or never comes, is not waited for.
 */
const GROUND_MS = 1_500;
/** By source. @type {Record<string, string>} */
const WHAT_FAILS = { base: "The coasts of the map", tiles: "The tiles of the map", file: "The tiles of the map" };
const ZOOM_MAX = 19;

export class FleetMap {
  /**
   * @param {Library} library
   * @param {Parts} parts
   * @param {Choice} choice
   * @param {{style: Style|null, layers: import("./map-tiles.js").Layers}} own the operator's style, or file of tiles
   * @param {View} view
   * @param {Told} told
   */
  constructor(library, parts, choice, { style, layers }, view, told) {
    this.parts = parts;
    this.told = told;
    this.own = style === null;
    this.layers = layers;
    this.source = new MapSource();
    this.points = new PointLayer(this.source.columns);
    this.labels = new Labels(parts.canvas);
    this.trail = new TrailLines();
    this.view = view;
    this.source.refresh(view.fleet);
    const start = start_of(view.camera, bounds_of(this.source.columns));
    /** Vehicles or the user have said where to look. */
    this.fitted = start !== NOWHERE;
    this.fine = false;
    /** For the ground, and until the next redraw. */
    this.waiting = this.timer = 0;
    this.drawn_at = -Infinity;
    this.redraw_ms = 0;
    this.streets = !this.own || choice.raster_tiles !== null || layers !== NO_LAYERS;
    this.map = new library.Map({
      container: parts.pane,
      style: style ?? built_in(colours_of_page().ground, choice, layers),
      ...start,
      maxZoom: ZOOM_MAX,
      attributionControl: this.own ? false : { compact: false },
      fadeDuration: 0,
      // Flat and north up: a map to read places from, and the point layer's arithmetic.
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      maxPitch: 0,
    });
    parts.credit.textContent = credit(choice, this.own);
    this.#listen(library);
  }

  /** @param {Library} library */
  #listen(library) {
    const { map } = this;
    map.touchZoomRotate.disableRotation();
    map.keyboard.disableRotation();
    map.addControl(new library.NavigationControl({ showCompass: false }), "top-right");
    map.addControl(
      fit_button(() => this.#fit(true)),
      "top-right",
    );
    map.addControl(new library.ScaleControl({ maxWidth: 110 }), "bottom-left");
    map.once("style.load", () => {
      this.redraw_ms = redraw_ms_of(map);
      map.once("idle", () => this.#loaded());
      this.waiting = window.setTimeout(() => this.#loaded(), GROUND_MS);
    });
    map.on("resize", () => this.#hold_zoom());
    map.on("render", () => this.#draw_over());
    map.on("moveend", (/** @type {any} */ event) => this.#moved(event.originalEvent !== undefined));
    map.on("webglcontextlost", () => this.told.lost());
    map.on("error", (/** @type {any} */ event) => this.#trouble(event));
    follow_pointer(map, this.source, this.parts.hint, { camera: () => this.camera(), open: this.told.open });
    this.stop_watching = watch_theme(() => this.#paint());
  }

  #loaded() {
    if (this.ready) return;
    clearTimeout(this.waiting);
    this.map.addLayer(this.points);
    this.trail.add(this.map, this.points.id);
    this.#hold_zoom();
    this.parts.pane.dataset.state = "ready";
    this.#paint();
    this.#moved(false);
    this.#redraw();
  }

  /** What is in sight now. Cheap: the work is done later, and not more often than it can be seen. @param {View} view */
  draw(view) {
    const opened = view.open !== this.view.open;
    this.view = view;
    if (opened && this.ready) this.#show_open(view.open);
    if (this.timer !== 0) return;
    const wait_ms = Math.max(0, this.drawn_at + this.redraw_ms - performance.now());
    this.timer = window.setTimeout(() => this.#redraw(), wait_ms);
  }

  get ready() {
    return this.parts.pane.dataset.state === "ready";
  }

  remove() {
    clearTimeout(this.waiting);
    clearTimeout(this.timer);
    this.stop_watching?.();
    this.map.remove();
    delete this.parts.pane.dataset.state;
  }

  /** @returns {import("./map-place.js").Camera} */
  camera() {
    const centre = this.map.getCenter();
    const { clientWidth: width, clientHeight: height } = this.map.getCanvas();
    return { x: x_of(centre.lng), y: y_of(centre.lat), scale: scale_of(this.map.getZoom()), width, height };
  }

  #redraw() {
    this.timer = 0;
    this.drawn_at = performance.now();
    if (!this.ready) return;
    this.trail.draw(this.view.trail);
    this.source.refresh(this.view.fleet);
    if (!this.fitted) this.#fit(false);
    if (this.points.uploaded === this.source.columns.version) return;
    this.parts.pane.dataset.vehicles = String(this.source.shown);
    this.map.triggerRepaint();
  }

  /** @param {boolean} asked by the user, who may also watch it move */
  #fit(asked) {
    const bounds = bounds_of(this.source.columns);
    if (bounds === null) return;
    this.fitted = true;
    this.map.fitBounds(bounds, { ...FIT, animate: asked });
    if (asked) this.told.look("", "");
  }

  /** The vehicle that was opened in the list comes in sight. @param {string} key */
  #show_open(key) {
    const slot = this.source.slot(key);
    const { columns } = this.source;
    this.map.triggerRepaint();
    if (slot === undefined || columns.visible[slot] === 0) return;
    const camera = this.camera();
    const { x, y } = pixel_of(columns, slot, camera);
    if (x > 0 && x < camera.width && y > 0 && y < camera.height) return;
    this.map.jumpTo({ center: [lon_of(columns.x[slot]), lat_of(columns.y[slot])] });
  }

  /** @param {boolean} by_user */
  #moved(by_user) {
    const zoom = this.map.getZoom();
    if (this.own && !this.fine && zoom >= FINE_FROM_ZOOM) {
      this.fine = true;
      /** @type {import("maplibre-gl").GeoJSONSource} */ (this.map.getSource("base"))?.setData(FINE);
    }
    this.parts.note.hidden = this.streets || zoom < EMPTY_FROM_ZOOM;
    if (!by_user) return;
    this.fitted = true;
    const { ll, z } = address_of(this.map.getCenter(), zoom);
    this.told.look(ll, z);
  }

  #hold_zoom() {
    this.map.setMinZoom(zoom_of_width(this.map.getCanvas().clientWidth));
  }

  #draw_over() {
    if (!this.ready) return;
    const { view, source } = this;
    this.labels.draw(source, this.camera(), this.map.getZoom(), view.open ? source.slot(view.open) : undefined);
    this.parts.pane.dataset.frames = String(this.points.frames);
  }

  /** @param {any} event */
  #trouble(event) {
    const what = WHAT_FAILS[event.sourceId];
    if (what) this.told.trouble(`${what} cannot be read. The vehicles are in their places all the same.`);
    else console.warn("map:", event.error?.message ?? event);
  }

  /** Follows the theme. */
  #paint() {
    if (!this.ready) return; // painted when it is
    const { ground, ink, statuses } = colours_of_page();
    this.labels.ink = ink;
    this.trail.paint(ink.accent);
    this.points.colours.set(statuses);
    for (const [layer, paint] of this.own ? Object.entries(paints(ground, this.layers)) : []) {
      for (const [name, value] of Object.entries(paint)) {
        this.map.setPaintProperty(layer, /** @type {any} */ (name), value);
      }
    }
    this.map.triggerRepaint();
  }
}
