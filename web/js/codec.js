/**
 * Reads the binary frames of `rollcall.v1.bin` (docs/protocol.md): every length and number is checked before a column
 * is handed on, so a truncated or wrong frame is an error and never a wrong view. Pure.
 * Fed by live.js; feeds state.js. The columns are views of the frame itself, nothing is copied.
 */

/** What a frame that cannot be trusted is. */
export class WireError extends Error {}

const FORMAT = 1;
const HEADER_BYTES = 32;
const KINDS = ["", "snapshot", "joined", "left", "turned", "heard", "transitions"];
/** Slots are counted up from 0 and never used again; so many vehicles in one run mean that a frame is wrong. */
export const SLOTS_MAX = 2 ** 24;
/** Numbers that mean "not known". */
export const NO_PLACE = -(2 ** 31);
export const NO_TENTHS = 0xffff;
export const NO_PERCENT = 0xff;

/**
 * @typedef {object} Heard
 * @property {Float64Array} last_seen  epoch ms, NaN: never
 * @property {Uint32Array} slot
 * @property {Int32Array} lat          ten-millionths of a degree
 * @property {Int32Array} lon
 * @property {Uint16Array} speed       tenths of km/h
 * @property {Uint16Array} heading     tenths of a degree
 * @property {Uint8Array} battery      percent
 *
 * @typedef {{status_since: Float64Array, slot: Uint32Array, seq: Uint32Array, status: Uint8Array}} Turned
 *
 * @typedef {object} Names             texts of rows; an empty list when every one is empty
 * @property {string[]} customers      each once
 * @property {Uint32Array} customer    its place in customers
 * @property {string[]} vehicle
 * @property {string[]} name
 * @property {string[]} registration
 * @property {string[]} vin
 * @property {string[]} tags           of one vehicle, with \u001f between them
 *
 * @typedef {Heard & Turned & Names} Whole
 * @typedef {{type: string, count: number, from: number, version: number, server_ms: number, frames: number}} Header
 *   frames: of a delta's last one, how many it took; else 0
 * @typedef {Header & {type: "snapshot", epoch: string} & Whole} SnapshotFrame
 * @typedef {Header & {type: "joined"} & Whole} JoinedFrame
 * @typedef {Header & {type: "left", slot: Uint32Array}} LeftFrame
 * @typedef {Header & {type: "turned"} & Turned} TurnedFrame
 * @typedef {Header & {type: "heard"} & Heard} HeardFrame
 * @typedef {Header & {type: "transitions", at: Float64Array, decided_at: Float64Array, slot: Uint32Array,
 *   seq: Uint32Array, old: Uint8Array, to: Uint8Array, cause: Uint8Array}} TransitionsFrame
 * @typedef {SnapshotFrame | JoinedFrame | LeftFrame | TurnedFrame | HeardFrame | TransitionsFrame} BinaryFrame
 */

/**
 * Whole length of the snapshot that begins with these bytes, for showing how far it is; 0 when it cannot be told.
 * @param {Uint8Array} bytes
 */
export function announced_bytes(bytes) {
  if (bytes.length < HEADER_BYTES) return 0;
  return HEADER_BYTES + new DataView(bytes.buffer, bytes.byteOffset).getUint32(24, true);
}

/**
 * @param {ArrayBuffer} buffer
 * @returns {BinaryFrame | null} null: a kind of tomorrow, which may be left out
 */
export function decode(buffer) {
  if (buffer.byteLength < HEADER_BYTES) throw new WireError(`a frame of ${buffer.byteLength} bytes has no header`);
  const view = new DataView(buffer);
  const format = view.getUint8(1);
  if (format !== FORMAT) throw new WireError(`the service speaks format ${format}: reload the page`);
  const length = view.getUint32(24, true);
  if (length !== buffer.byteLength - HEADER_BYTES) {
    throw new WireError(`${buffer.byteLength - HEADER_BYTES} of ${length} bytes came`);
  }
  const header = {
    type: KINDS[view.getUint8(0)] ?? "",
    frames: view.getUint16(2, true),
    count: view.getUint32(4, true),
    from: view.getUint32(8, true),
    version: view.getUint32(12, true),
    server_ms: view.getFloat64(16, true),
  };
  if (header.type === "") return null;
  const columns = new Columns(buffer, header.count);
  const frame = /** @type {any} */ ({ ...header, ...read(columns, header.type) });
  columns.end();
  if (frame.slot.some((/** @type {number} */ slot) => slot >= SLOTS_MAX) && header.type !== "transitions") {
    throw new WireError("a slot beyond all vehicles");
  }
  return frame;
}

/** @param {Columns} columns @param {string} type */
function read(columns, type) {
  switch (type) {
    case "left":
      return { slot: columns.uint32() };
    case "turned":
      return {
        status_since: columns.float64(),
        slot: columns.uint32(),
        seq: columns.uint32(),
        status: columns.uint8(),
      };
    case "heard":
      return { last_seen: columns.float64(), slot: columns.uint32(), ...places(columns), ...gauges(columns) };
    case "transitions":
      return {
        at: columns.float64(),
        decided_at: columns.float64(),
        slot: columns.uint32(),
        seq: columns.uint32(),
        old: columns.uint8(),
        to: columns.uint8(),
        cause: columns.uint8(),
      };
    case "snapshot":
      return { ...whole(columns), epoch: columns.texts(1)[0] ?? "", statuses: columns.texts(null) };
    default:
      return whole(columns);
  }
}

/** @param {Columns} columns */
function whole(columns) {
  const last_seen = columns.float64();
  const status_since = columns.float64();
  const slot = columns.uint32();
  const place = places(columns);
  const seq = columns.uint32();
  const customer = columns.uint32();
  const gauge = gauges(columns);
  const status = columns.uint8();
  columns.pad();
  const customers = columns.texts(null);
  const vehicle = columns.texts(slot.length);
  if (vehicle.length !== slot.length) throw new WireError("vehicles without names");
  const [name, registration, vin, tags] = [0, 1, 2, 3].map(() => columns.texts(slot.length));
  if (customer.some((at) => at >= customers.length)) throw new WireError("a vehicle of no customer");
  const names = { customers, customer, vehicle, name, registration, vin, tags };
  return { last_seen, status_since, slot, ...place, seq, ...gauge, status, ...names };
}

/** @param {Columns} columns */
const places = (columns) => ({ lat: columns.int32(), lon: columns.int32() });

/** @param {Columns} columns */
const gauges = (columns) => ({ speed: columns.uint16(), heading: columns.uint16(), battery: columns.uint8() });

/** Takes one column after the other; all browsers are little-endian, as the frames are. */
class Columns {
  /** @param {ArrayBuffer} buffer @param {number} count */
  constructor(buffer, count) {
    this.buffer = buffer;
    this.count = count;
    this.at = HEADER_BYTES;
  }

  float64() {
    return new Float64Array(this.buffer, this.#take(8 * this.count), this.count);
  }

  uint32() {
    return new Uint32Array(this.buffer, this.#take(4 * this.count), this.count);
  }

  int32() {
    return new Int32Array(this.buffer, this.#take(4 * this.count), this.count);
  }

  uint16() {
    return new Uint16Array(this.buffer, this.#take(2 * this.count), this.count);
  }

  uint8() {
    return new Uint8Array(this.buffer, this.#take(this.count), this.count);
  }

  pad() {
    this.#take((4 - (this.at % 4)) % 4);
  }

  /**
   * A list of texts: none, or as many as there have to be.
   * @param {number|null} wanted null: any number
   * @returns {string[]}
   */
  texts(wanted) {
    const [count, bytes] = new Uint32Array(this.buffer, this.#take(8), 2);
    const text = utf8(new Uint8Array(this.buffer, this.#take(bytes), bytes));
    this.pad();
    const list = count === 0 ? [] : text.split("\n");
    if (list.length !== count || (count === 0 && bytes > 0)) throw new WireError("texts that are not as many as told");
    if (wanted !== null && count !== 0 && count !== wanted) throw new WireError(`${count} texts for ${wanted} rows`);
    return list;
  }

  end() {
    if (this.at !== this.buffer.byteLength) throw new WireError(`${this.buffer.byteLength - this.at} bytes too many`);
  }

  /** Where a column of so many bytes begins. @param {number} bytes */
  #take(bytes) {
    const start = this.at;
    if (bytes > this.buffer.byteLength - start) throw new WireError("a frame ends within a column");
    this.at += bytes;
    return start;
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @param {Uint8Array} bytes */
function utf8(bytes) {
  try {
    return UTF8.decode(bytes);
  } catch {
    throw new WireError("a text that is no UTF-8");
  }
}
