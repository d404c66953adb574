/**
 * All vehicles in two draw calls: a custom layer of MapLibre on WebGL2. Places are whole numbers up to the graphics
 * card, and the centre is taken off there as whole numbers too, so nothing trembles at street zoom and the date line
 * is no edge.
 * Fed by map.js with the columns (map-place.js) and the colours of the page; draws into MapLibre's canvas.
 */
import { scale_of, x_of, y_of } from "./map-place.js";

/** @typedef {import("./map-place.js").Columns} Columns */
/** @typedef {import("maplibre-gl").Map} MapLibre */

/** Two passes, so that offline vehicles lie on top: 80,000 green points would hide them. */
const PASSES = [0, 1];

const VERTEX = `#version 300 es
layout(location = 0) in int x;
layout(location = 1) in int y;
layout(location = 2) in uint status;
layout(location = 3) in uint visible;
uniform ivec2 centre;
uniform vec2 clip_a_step;
uniform float size;
uniform int pass;
flat out uint shape;
void main() {
  shape = status;
  bool offline = status == 1u;
  gl_PointSize = offline ? max(size * 1.25, size + 3.0) : size;
  bool drawn = visible == 1u && offline == (pass == 1);
  // Integers wrap around the Earth; the difference to the centre is small, so a float holds it.
  gl_Position = drawn ? vec4(vec2(ivec2(x, y) - centre) * clip_a_step, 0.0, 1.0) : vec4(2.0, 2.0, 2.0, 1.0);
}`;

/** Shapes as the page writes them: online a disc, offline a triangle, unobserved a ring, never seen a square's edge. */
const FRAGMENT = `#version 300 es
precision mediump float;
flat in uint shape;
uniform vec3 colours[4];
uniform float hollow;
out vec4 colour;
void main() {
  vec2 at = gl_PointCoord * 2.0 - 1.0;
  float inside = length(at);
  if (shape == 1u) inside = max(abs(at.x) * 1.1 - at.y * 0.55 + 0.45, at.y + 0.15);
  if (shape == 3u) inside = max(abs(at.x), abs(at.y)) * 1.15;
  if (inside > 1.0) discard;
  if (shape > 1u && inside < hollow) discard;
  colour = vec4(colours[shape], 1.0);
}`;

/** Points grow from 4 pixels for the whole Earth to 16 in a street. @param {number} zoom */
export const size_of = (zoom) => Math.min(16, 4 + 0.85 * Math.max(0, zoom - 2));

/** A ring needs a wall of about 1.5 pixels. @param {number} size pixels */
const hollow_of = (size) => Math.max(0.35, 1 - 3.2 / size);

export class PointLayer {
  /** @param {Columns} columns */
  constructor(columns) {
    this.id = "vehicles";
    this.type = /** @type {const} */ ("custom");
    this.renderingMode = /** @type {const} */ ("2d");
    this.columns = columns;
    /** Red, green, blue of each status, 0 to 1. */
    this.colours = new Float32Array(12);
    this.frames = 0;
    this.uploads = 0;
    this.uploaded = -1;
    this.capacity = 0;
    /** @type {MapLibre|null} */ this.map = null;
    /** @type {WebGLProgram|null} */ this.program = null;
    /** @type {WebGLVertexArrayObject|null} */ this.shape = null;
    /** @type {WebGLBuffer[]} */ this.buffers = [];
    /** @type {Record<string, WebGLUniformLocation|null>} */ this.uniform = {};
  }

  /** @param {MapLibre} map @param {WebGL2RenderingContext} gl */
  onAdd(map, gl) {
    this.map = map;
    const program = (this.program = build(gl));
    for (const name of ["centre", "clip_a_step", "size", "pass", "colours", "hollow"]) {
      this.uniform[name] = gl.getUniformLocation(program, name);
    }
    this.shape = gl.createVertexArray();
    gl.bindVertexArray(this.shape);
    this.buffers = [gl.INT, gl.INT, gl.UNSIGNED_BYTE, gl.UNSIGNED_BYTE].map((type, place) => {
      const buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribIPointer(place, 1, type, 0, 0);
      return /** @type {WebGLBuffer} */ (buffer);
    });
    gl.bindVertexArray(null);
    this.uploaded = -1;
    this.capacity = 0;
  }

  /** @param {MapLibre} _map @param {WebGL2RenderingContext} gl */
  onRemove(_map, gl) {
    for (const buffer of this.buffers) gl.deleteBuffer(buffer);
    gl.deleteVertexArray(this.shape);
    gl.deleteProgram(this.program);
    this.map = null;
  }

  /** @param {WebGL2RenderingContext} gl */
  render(gl) {
    const { map, columns, uniform } = this;
    if (map === null || columns.count === 0) return;
    this.frames += 1;
    if (this.uploaded !== columns.version) this.#upload(gl);
    const [centre, zoom, canvas] = [map.getCenter(), map.getZoom(), map.getCanvas()];
    const size = size_of(zoom) * (canvas.width / canvas.clientWidth);
    const step = 2 * scale_of(zoom);
    gl.useProgram(this.program);
    gl.bindVertexArray(this.shape);
    gl.uniform2i(uniform.centre, x_of(centre.lng), y_of(centre.lat));
    gl.uniform2f(uniform.clip_a_step, step / canvas.clientWidth, -step / canvas.clientHeight);
    gl.uniform1f(uniform.size, size);
    gl.uniform1f(uniform.hollow, hollow_of(size));
    gl.uniform3fv(uniform.colours, this.colours);
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.STENCIL_TEST);
    for (const pass of PASSES) {
      gl.uniform1i(uniform.pass, pass);
      gl.drawArrays(gl.POINTS, 0, columns.count);
    }
    gl.bindVertexArray(null);
  }

  /**
   * Whole arrays, 1 MB for 100,000 vehicles: cheaper than finding out what changed.
   * @param {WebGL2RenderingContext} gl
   */
  #upload(gl) {
    const { columns } = this;
    const arrays = [columns.x, columns.y, columns.status, columns.visible];
    const grown = columns.count > this.capacity;
    if (grown) this.capacity = columns.x.length;
    arrays.forEach((array, place) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[place]);
      if (grown) gl.bufferData(gl.ARRAY_BUFFER, array, gl.DYNAMIC_DRAW);
      else gl.bufferSubData(gl.ARRAY_BUFFER, 0, array, 0, columns.count);
    });
    gl.bindBuffer(gl.ARRAY_BUFFER, null);
    this.uploaded = columns.version;
    this.uploads += 1;
  }
}

/** @param {WebGL2RenderingContext} gl */
function build(gl) {
  const program = gl.createProgram();
  for (const [type, text] of /** @type {[number, string][]} */ ([
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT],
  ])) {
    const shader = /** @type {WebGLShader} */ (gl.createShader(type));
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    gl.deleteShader(shader); // it lives as long as the program
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(`the point layer cannot be drawn: ${gl.getProgramInfoLog(program)}`);
  }
  return program;
}
