/**
 * Writes the binary frames of `rollcall.v1.bin` by its description in docs/protocol.md: for the unit tests and the stand-in
 * for the service. Shares no line with web/js/codec.js, which reads them.
 */
const KINDS = { snapshot: 1, joined: 2, left: 3, turned: 4, heard: 5, transitions: 6 };
const STATUSES = ["never_seen", "online", "offline", "unobserved"];
const CAUSES = ["heartbeat", "silence", "last_will", "goodbye", "blind"];

const time = (text) => (text ? Date.parse(text) : NaN);
const scaled = (value, by, none) => (value === null || value === undefined ? none : Math.round(value * by));
const number = (words, word) => { const at = words.indexOf(word); return at < 0 ? 250 : at; }; // 250: a word of tomorrow
const lists = (rows, read) => rows.map(read);

class Writer {
  parts = [];
  length = 0;
  put(bytes) { this.parts.push(bytes); this.length += bytes.length; }
  float64(values) { this.put(new Uint8Array(Float64Array.from(values).buffer)); }
  uint32(values) { this.put(new Uint8Array(Uint32Array.from(values).buffer)); }
  int32(values) { this.put(new Uint8Array(Int32Array.from(values).buffer)); }
  uint16(values) { this.put(new Uint8Array(Uint16Array.from(values).buffer)); }
  uint8(values) { this.put(Uint8Array.from(values)); }
  pad() { this.put(new Uint8Array((4 - (this.length % 4)) % 4)); }
  texts(list) {
    const bytes = new TextEncoder().encode(list.join("\n"));
    this.uint32([list.length, bytes.length]);
    this.put(bytes);
    this.pad();
  }
}

function heard(body, rows) {
  body.float64(lists(rows, ({ last_seen }) => time(last_seen)));
  body.uint32(lists(rows, ({ slot }) => slot));
  places(body, rows);
  gauges(body, rows);
}

function places(body, rows) {
  body.int32(lists(rows, ({ position }) => scaled(position?.lat, 1e7, -(2 ** 31))));
  body.int32(lists(rows, ({ position }) => scaled(position?.lon, 1e7, -(2 ** 31))));
}

function gauges(body, rows) {
  body.uint16(lists(rows, ({ position }) => scaled(position?.speed_kmh, 10, 0xffff)));
  body.uint16(lists(rows, ({ position }) => scaled(position?.heading_deg, 10, 0xffff)));
  body.uint8(lists(rows, ({ battery_pct }) => scaled(battery_pct, 1, 0xff)));
}

function whole(body, rows) {
  body.float64(lists(rows, ({ last_seen }) => time(last_seen)));
  body.float64(lists(rows, ({ status_since }) => time(status_since)));
  body.uint32(lists(rows, ({ slot }) => slot));
  places(body, rows);
  body.uint32(lists(rows, ({ seq }) => seq ?? 0));
  const customers = [...new Set(lists(rows, ({ customer }) => customer))];
  const numbers = new Map(customers.map((name, at) => [name, at]));
  body.uint32(lists(rows, ({ customer }) => numbers.get(customer)));
  gauges(body, rows);
  body.uint8(lists(rows, ({ status }) => number(STATUSES, status)));
  body.pad();
  body.texts(customers);
  body.texts(lists(rows, ({ vehicle }) => vehicle));
  for (const name of ["name", "registration", "vin"]) body.texts(rows.some((row) => row[name]) ? lists(rows, (row) => row[name] ?? "") : []);
  body.texts(rows.some(({ tags }) => tags?.length) ? lists(rows, ({ tags }) => (tags ?? []).join("\u001f")) : []);
}

const BODIES = {
  snapshot(body, rows, { epoch }) {
    whole(body, rows);
    body.texts([epoch]);
    body.texts(STATUSES);
  },
  joined: whole,
  left: (body, rows) => body.uint32(lists(rows, ({ slot }) => slot)),
  turned(body, rows) {
    body.float64(lists(rows, ({ status_since }) => time(status_since)));
    body.uint32(lists(rows, ({ slot }) => slot));
    body.uint32(lists(rows, ({ seq }) => seq ?? 0));
    body.uint8(lists(rows, ({ status }) => number(STATUSES, status)));
  },
  heard,
  transitions(body, rows) {
    body.float64(lists(rows, ({ at }) => time(at)));
    body.float64(lists(rows, ({ decided_at }) => time(decided_at)));
    body.uint32(lists(rows, ({ slot }) => slot));
    body.uint32(lists(rows, ({ seq }) => seq));
    body.uint8(lists(rows, ({ from }) => number(STATUSES, from)));
    body.uint8(lists(rows, ({ to }) => number(STATUSES, to)));
    body.uint8(lists(rows, ({ cause }) => number(CAUSES, cause)));
  },
};

/**
 * One frame. Rows are vehicles in the form of REST, each with its slot.
 * @returns {ArrayBuffer}
 */
export function encode(type, rows, { from = 0, version = 0, frames = 0, server_ms = Date.now(), epoch = "e1" } = {}) {
  const body = new Writer();
  BODIES[type](body, rows, { epoch });
  const frame = new Writer();
  frame.uint8([KINDS[type], 1]);
  frame.uint16([frames]);
  frame.uint32([rows.length, from, version]);
  frame.float64([server_ms]);
  frame.uint32([body.length, 0]);
  body.parts.forEach((part) => frame.put(part));
  const whole_frame = new Uint8Array(frame.length);
  let at = 0;
  for (const part of frame.parts) {
    whole_frame.set(part, at);
    at += part.length;
  }
  return whole_frame.buffer;
}
