/**
 * The vehicle grid: draws only the rows in sight, on a handful of recycled elements, and writes only texts that
 * changed.
 * Fed by app.js with the order of slots and the fleet; tells app.js which vehicle was opened.
 */
import { STATUS_WORDS, age, measure, moment, place } from "./words.js";
import { moved, scroll_to_row, window_of } from "./windowing.js";

/** @typedef {import("./fleet.js").Fleet} Fleet */
/**
 * @typedef {{element: HTMLElement, texts: Text[], shown: string[], status: number, slot: number, at: number, top:
 * number}} Row
 */

const CELLS = ["vehicle", "customer", "status", "since", "seen", "place", "speed"];
/** Vehicle and status carry a second text: the name, and the shape. */
const SECOND_TEXT = { vehicle: "name", status: "shape" };

export class VehicleTable {
  /** @param {HTMLElement} grid @param {HTMLElement} sizer @param {(key: string) => void} on_open */
  constructor(grid, sizer, on_open) {
    this.grid = grid;
    this.sizer = sizer;
    this.on_open = on_open;
    /** @type {Uint32Array} */ this.order = new Uint32Array(0);
    /** @type {Fleet|null} */ this.fleet = null;
    /** @type {Row[]} */ this.pool = [];
    /** The active row follows its vehicle, not its position. */
    this.active_key = "";
    this.on_scroll = () => {};
    this.pointer_inside = false;
    this.height = -1;
    this.row_height = 36;
    this.head_height = 36;
    this.measure();
    grid.addEventListener("scroll", () => this.on_scroll(), { passive: true });
    grid.addEventListener("keydown", (event) => this.#key(event));
    sizer.addEventListener("click", (event) => this.#click(event));
    // Only a mouse rests on a row; a finger that has scrolled away leaves nothing behind.
    grid.addEventListener("pointerenter", (event) => {
      this.pointer_inside = event.pointerType === "mouse";
    });
    grid.addEventListener("pointerleave", () => {
      this.pointer_inside = false;
    });
  }

  /** Rows must not jump under a finger or a reader: while this is true the order stays. */
  get held() {
    return this.pointer_inside || this.grid.contains(document.activeElement);
  }

  /** The row height is the style sheet's to choose. */
  measure() {
    const style = getComputedStyle(this.grid);
    this.row_height = parseFloat(style.getPropertyValue("--row-height"));
    this.head_height = this.row_height;
  }

  /** @param {Uint32Array} order @param {Fleet} fleet */
  show(order, fleet) {
    this.order = order;
    this.fleet = fleet;
  }

  /** @param {number} server_now @param {string} open_key */
  draw(server_now, open_key) {
    const { fleet, order, grid } = this;
    if (fleet === null) return;
    const view_height = grid.clientHeight - this.head_height;
    const view = window_of(order.length, this.row_height, view_height, grid.scrollTop);
    if (view.height !== this.height) this.sizer.style.height = `${(this.height = view.height)}px`;
    set(grid, "aria-rowcount", String(order.length + 1));
    while (this.pool.length < view.last - view.first) this.pool.push(this.#new_row());
    const active = fleet.find(this.active_key);
    const open = fleet.find(open_key);
    let active_id = "";
    for (let at = view.first; at < view.last; at++) {
      // Row r always sits on element r mod pool, so scrolling by one row rewrites one element.
      const row = this.pool[at % this.pool.length];
      const slot = order[at];
      this.#place(row, at, view.shift);
      this.#write(row, fleet, slot, server_now);
      if (slot === active) active_id = row.element.id;
      row.element.classList.toggle("active", slot === active);
      set(row.element, "aria-selected", String(slot === open));
    }
    for (const row of this.pool) {
      const unused = row.at < view.first || row.at >= view.last;
      if (row.element.hidden !== unused) row.element.hidden = unused;
    }
    if (active_id) set(grid, "aria-activedescendant", active_id);
    else grid.removeAttribute("aria-activedescendant");
  }

  /** @returns {Row} */
  #new_row() {
    const element = document.createElement("div");
    element.id = `row-${this.pool.length}`;
    element.className = "row";
    element.setAttribute("role", "row");
    /** @type {Text[]} */
    const texts = [];
    CELLS.forEach((name, index) => {
      const cell = document.createElement("div");
      cell.className = `cell ${name}`;
      cell.setAttribute("role", "gridcell");
      cell.setAttribute("aria-colindex", String(index + 1));
      for (const part of name in SECOND_TEXT
        ? ["first", SECOND_TEXT[/** @type {"vehicle"|"status"} */ (name)]]
        : ["first"]) {
        const span = cell.appendChild(document.createElement("span"));
        span.className = part;
        if (part === "shape") span.ariaHidden = "true";
        texts.push(span.appendChild(document.createTextNode("")));
      }
      element.append(cell);
    });
    this.sizer.append(element);
    return { element, texts, shown: texts.map(() => ""), status: -1, slot: -1, at: -1, top: -1 };
  }

  /** @param {Row} row @param {number} at @param {number} shift */
  #place(row, at, shift) {
    const top = at * this.row_height + shift;
    if (row.top !== top) row.element.style.transform = `translateY(${(row.top = top)}px)`;
    if (row.at === at) return;
    row.at = at;
    row.element.setAttribute("aria-rowindex", String(at + 2)); // the header is row 1
  }

  /** @param {Row} row @param {Fleet} fleet @param {number} slot @param {number} server_now */
  #write(row, fleet, slot, server_now) {
    row.slot = slot;
    const status = fleet.status[slot];
    if (row.status !== status) {
      row.status = status;
      row.element.dataset.status = STATUS_WORDS[status].key;
    }
    texts_of(fleet, slot, server_now).forEach((text, index) => {
      if (row.shown[index] === text) return;
      row.shown[index] = text;
      row.texts[index].nodeValue = text; // a text node: whatever a vehicle calls itself stays text
    });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.target !== this.grid || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" && this.active_key) {
      event.preventDefault(); // or the same key press would also press the button that gets the focus
      this.on_open(this.active_key);
      return;
    }
    const page = Math.max(1, Math.floor((this.grid.clientHeight - this.head_height) / this.row_height) - 1);
    const from = this.#active_at();
    const at =
      from < 0 && event.key.startsWith("Arrow")
        ? this.#first_in_sight()
        : moved(event.key, Math.max(0, from), this.order.length, page);
    if (at === null || at < 0) return;
    event.preventDefault();
    this.#activate(at);
  }

  #active_at() {
    const slot = this.fleet?.find(this.active_key);
    return slot === undefined ? -1 : this.order.indexOf(slot);
  }

  #first_in_sight() {
    if (this.order.length === 0) return -1;
    return Math.min(this.order.length - 1, Math.ceil(this.grid.scrollTop / this.row_height));
  }

  /** @param {number} at */
  #activate(at) {
    if (this.fleet === null) return;
    const slot = this.order[at];
    this.active_key = this.fleet.key_of(slot);
    const view_height = this.grid.clientHeight - this.head_height;
    this.grid.scrollTop = scroll_to_row(at, this.order.length, this.row_height, view_height, this.grid.scrollTop);
    this.on_scroll();
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const element = /** @type {HTMLElement} */ (event.target).closest(".row");
    const row = this.pool.find((each) => each.element === element);
    if (row === undefined || this.fleet === null) return;
    this.active_key = this.fleet.key_of(row.slot);
    this.on_open(this.active_key);
  }
}

/**
 * Writing the value it already has would still wake the style engine.
 * @param {HTMLElement} element
 * @param {string} name
 * @param {string} value
 */
function set(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** The texts of one row, in the order of CELLS. @param {Fleet} fleet @param {number} slot @param {number} server_now */
function texts_of(fleet, slot, server_now) {
  const status = STATUS_WORDS[fleet.status[slot]];
  return [
    fleet.vehicle[slot],
    fleet.name[slot],
    fleet.customer_of(slot),
    status.word,
    status.shape,
    moment(fleet.status_since[slot], server_now),
    age(fleet.last_seen[slot], server_now),
    place(fleet.lat_of(slot), fleet.lon_of(slot), 4),
    measure(fleet.speed_of(slot), "km/h"),
  ];
}
