/**
 * The place of the map on the page: loads the map once it is in sight, and says so when there can be none.
 * Fed by panes.js; whatever happens here, table and counts go on.
 */
import { load_styles } from "./elements.js";
import { FleetMap } from "./map.js";
import { read_choice, read_style } from "./map-settings.js";
import { NO_LAYERS, read_tiles } from "./map-tiles.js";

const LIBRARY = "/vendor/maplibre-gl@6.17.0/";
/** A lost graphics context often comes back; a broken one would come back for ever. */
const REBUILD = { after_ms: 2_000, times_max: 3 };
const NO_WEBGL =
  "Map needs WebGL2, which this browser does not offer. Every vehicle and its position is in the list, all the same.";
const LOST =
  "The graphics of this device gave up, so there is no map right now. The list has every vehicle all the same.";
const NO_FILES = "The map could not be loaded. The list has every vehicle all the same.";

export class MapPane {
  /**
   * @param {Document} page
   * @param {{open: (key: string) => void, look: (ll: string, z: string) => void}} app
   */
  constructor(page, app) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.app = app;
    this.parts = {
      pane: find("map"),
      canvas: /** @type {HTMLCanvasElement} */ (find("map-labels")),
      hint: find("map-hint"),
      note: find("map-note"),
      credit: find("map-credit"),
    };
    this.message = find("map-message");
    this.again = find("map-again");
    /** @type {FleetMap|null} */ this.map = null;
    /** @type {import("./map.js").View|null} */ this.view = null;
    this.seen = false;
    this.begun = false;
    this.rebuilt = 0;
    this.again.addEventListener("click", () => this.#start());
    new IntersectionObserver((seen) => {
      this.seen ||= seen.some((each) => each.isIntersecting);
      if (this.view !== null) this.draw(this.view);
    }).observe(find("map-pane"));
  }

  /** @param {import("./map.js").View} view */
  draw(view) {
    this.view = view;
    this.map?.draw(view);
    if (this.seen && !this.begun) this.#start();
  }

  async #start() {
    this.begun = true;
    this.map?.remove();
    this.map = null;
    this.#say("", false);
    try {
      const style_sheet = load_styles(`${LIBRARY}maplibre-gl.css`);
      /** @type {[any, import("./map-style.js").Choice, void]} */
      const [library, choice] = await Promise.all([import(`${LIBRARY}maplibre-gl.mjs`), read_choice(), style_sheet]);
      const chosen = choice.style_url === null ? { style: null, trouble: "" } : await read_style(choice.style_url);
      if (chosen.trouble !== "") this.#say(chosen.trouble, false);
      const tiles = chosen.style === null && choice.pmtiles !== null ? await read_tiles(library, choice.pmtiles) : null;
      if (tiles?.trouble) this.#say(tiles.trouble, false);
      this.#build(library, choice, chosen.style, tiles?.layers ?? NO_LAYERS);
    } catch (error) {
      console.warn("map:", error);
      this.#say(NO_FILES, true);
    }
  }

  /**
   * @param {any} library
   * @param {import("./map-style.js").Choice} choice
   * @param {import("./map-style.js").Style|null} style
   * @param {import("./map-tiles.js").Layers} layers
   */
  #build(library, choice, style, layers) {
    if (this.view === null) return;
    try {
      this.map = new FleetMap(library, this.parts, choice, { style, layers }, this.view, {
        ...this.app,
        trouble: (text) => this.#say(text, false),
        lost: () => this.#lost(),
      });
    } catch (error) {
      console.warn("map:", error);
      return this.#say(NO_WEBGL, true);
    }
  }

  #lost() {
    this.#say(LOST, true);
    const { map } = this;
    this.map = null;
    // Not inside the event of the map that ends.
    setTimeout(() => map?.remove());
    if (this.rebuilt++ < REBUILD.times_max) setTimeout(() => this.#start(), REBUILD.after_ms);
  }

  /** @param {string} text "" takes it away @param {boolean} again trying once more may help */
  #say(text, again) {
    this.message.textContent = text;
    const box = /** @type {HTMLElement} */ (this.message.parentElement);
    box.classList.toggle("empty", text === "");
    this.again.hidden = !again;
  }
}
