/**
 * What lies over the points: a ring around the open vehicle, and, once few enough are in sight, headings and names.
 * A canvas of its own, so that it works over any style and no font has to be fetched.
 * Fed by map.js after each frame of the map; draws, and takes no pointer.
 */
import { pixel_of, vehicles_in } from "./map-place.js";
import { size_of } from "./map-points.js";

/** @typedef {import("./map-place.js").Camera} Camera */
/** @typedef {import("./map-source.js").MapSource} MapSource */
/** @typedef {{text: string, halo: string, accent: string}} Ink */

/** More arrows would only be a carpet, and each frame would wait for them. */
const ARROWS_MAX = 2_000;
/** Where a whole country is a thumb wide, a heading means nothing. */
const ARROWS_FROM_ZOOM = 4;
/** Where more than so many stand in a square of so many pixels, arrows and names would hide the vehicles. */
const CROWD = { vehicles: 2, px: 30 };
/** A name needs about this much room; a second one in the same place is left out. */
const LABEL_PX = { width: 90, height: 18 };
const FONT = "600 12px system-ui, sans-serif";

export class Labels {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    /** @type {Ink} */
    this.ink = { text: "#fff", halo: "#000", accent: "#fff" };
    this.blank = true;
  }

  /** @param {MapSource} source @param {Camera} camera @param {number} zoom @param {number|undefined} open slot */
  draw(source, camera, zoom, open) {
    const { columns } = source;
    const near = zoom >= ARROWS_FROM_ZOOM ? vehicles_in(columns, camera, ARROWS_MAX) : null;
    const few = uncrowded(columns, near ?? [], camera);
    const ringed = open !== undefined && columns.visible[open] === 1;
    if (few.length === 0 && !ringed && this.blank) return;
    this.#clear(camera);
    const reach = size_of(zoom) / 2 + 3;
    this.#arrows(source, few, camera, reach);
    if (ringed) this.#ring(pixel_of(columns, open, camera), reach + 4);
    this.#names(source, few, camera, reach, ringed ? open : undefined);
    this.blank = few.length === 0 && !ringed;
  }

  /** @param {Camera} camera */
  #clear({ width, height }) {
    const ratio = devicePixelRatio;
    const { canvas, context } = this;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
  }

  /** @param {MapSource} source @param {number[]} slots @param {Camera} camera @param {number} reach */
  #arrows(source, slots, camera, reach) {
    const { context } = this;
    context.beginPath();
    for (const slot of slots) {
      const heading = (source.heading(slot) * Math.PI) / 180;
      if (Number.isNaN(heading)) continue;
      const { x, y } = pixel_of(source.columns, slot, camera);
      const [east, north] = [Math.sin(heading), -Math.cos(heading)];
      const [tip, wing] = [reach + 5, 3.5];
      context.moveTo(x + east * tip, y + north * tip);
      context.lineTo(x + east * reach - north * wing, y + north * reach + east * wing);
      context.lineTo(x + east * reach + north * wing, y + north * reach - east * wing);
      context.closePath();
    }
    context.fillStyle = this.ink.text;
    context.fill();
  }

  /** @param {{x: number, y: number}} at @param {number} radius */
  #ring({ x, y }, radius) {
    const { context, ink } = this;
    for (const [colour, width] of /** @type {const} */ ([
      [ink.halo, 6],
      [ink.accent, 3],
    ])) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.stroke();
    }
  }

  /**
   * The open vehicle's name first, then as many as have room.
   * @param {MapSource} source
   * @param {number[]} slots
   * @param {Camera} camera
   * @param {number} reach
   * @param {number} [first]
   */
  #names(source, slots, camera, reach, first) {
    const { context, ink } = this;
    Object.assign(context, { font: FONT, textBaseline: "middle", lineJoin: "round", lineWidth: 3 });
    context.strokeStyle = ink.halo;
    context.fillStyle = ink.text;
    const taken = new Set();
    for (const slot of first === undefined ? slots : [first, ...slots]) {
      const { x, y } = pixel_of(source.columns, slot, camera);
      const [column, row] = [Math.floor(x / LABEL_PX.width), Math.floor(y / LABEL_PX.height - 0.5)];
      const places = [0, 1, 2, 3].map((part) => `${column + (part >> 1)},${row + (part & 1)}`);
      if (places.some((place) => taken.has(place))) continue;
      for (const place of places) taken.add(place);
      context.strokeText(source.name(slot), x + reach + 8, y);
      context.fillText(source.name(slot), x + reach + 8, y);
    }
  }
}

/**
 * Those that stand free enough to carry an arrow and a name.
 * @param {import("./map-place.js").Columns} columns
 * @param {number[]} slots
 * @param {Camera} camera
 */
export function uncrowded(columns, slots, camera) {
  /** @type {Map<string, number>} */
  const crowd = new Map();
  const squares = slots.map((slot) => {
    const { x, y } = pixel_of(columns, slot, camera);
    const square = `${Math.floor(x / CROWD.px)},${Math.floor(y / CROWD.px)}`;
    crowd.set(square, (crowd.get(square) ?? 0) + 1);
    return square;
  });
  return slots.filter((_, at) => (crowd.get(squares[at]) ?? 0) <= CROWD.vehicles);
}
