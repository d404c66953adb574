/**
 * Puts the page together: frames come from live.js, go into state.js, and the views draw what came of it, once a
 * screen frame.
 * Owns the filters, the order of the table and the keys that work everywhere.
 */
import { Banner, message } from "./banner.js";
import { Counts } from "./counts.js";
import { Drawer } from "./drawer.js";
import { FilterRow } from "./filters.js";
import { CHANGED } from "./fleet.js";
import { LiveLink, live_url } from "./live.js";
import { affects_order, same_order, select } from "./order.js";
import { is_demo } from "./reads.js";
import { LiveState } from "./state.js";
import { VehicleTable } from "./table.js";
import { format, narrowed, no_filters, of_a_part, parse, toggled } from "./url.js";
import { whole } from "./words.js";

/** Rows that change place more often than this cannot be read. */
const REORDER_EVERY_MS = 1_000;
/** Ages count on even when no frame comes. */
const TICK_MS = 1_000;

/** @param {string} id */
const find = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Exported for the browser tests, which hold every row against REST. */
export const state = new LiveState();
let { filters, ignored } = parse(location.search);
let selection = select(state.fleet, filters);
let order_due = true;
let ordered_at = -Infinity;
let frame_asked = false;

const table = new VehicleTable(find("grid"), find("rows"), (key) => change({ v: key }, false));
const counts = new Counts(find("counts"), (status) =>
  change({ status: status === "" ? [] : toggled(filters.status, status) }, false),
);
const filter_row = new FilterRow(document, change, clear);
const drawer = new Drawer(document, () => change({ v: "" }, false));
/** @type {import("./demo.js").DemoButtons|null} */ let demo = null;
const link = new LiveLink(live_url(location), {
  on_frame: receive,
  on_progress: (received, total) => {
    state.incoming = { received, total };
    draw_soon();
  },
  resume_point: () => state.resume_point(),
  on_lost: () => state.lost(),
  on_change: draw_soon,
});
const banner = new Banner(document, () => link.poke());

/** @param {import("./state.js").TextFrame|import("./state.js").BinaryFrame} frame */
function receive(frame) {
  const outcome = state.apply(frame, performance.now());
  if (outcome.replaced) reorder(true);
  else if (affects_order(outcome.changed, filters)) order_due = true;
  if (outcome.changed & CHANGED.removed)
    table.show(
      table.order.filter((slot) => state.fleet.alive[slot]),
      state.fleet,
    );
  // Transitions of the open vehicle may have passed unheard.
  if ((outcome.gap || outcome.replaced) && filters.v !== "") drawer.read();
  drawer.hear(outcome.transitions);
  draw_soon();
  return outcome;
}

/** @param {boolean} even_if_held the user asked, or slots mean something else now */
function reorder(even_if_held) {
  // The rows that came with the page were chosen, put in order and counted by the service.
  const first = state.first && { order: Uint32Array.from(state.fleet.slots()), tally: state.first.tally };
  selection = first ?? select(state.fleet, filters);
  state.fleet.show_only(selection.order);
  order_due = false;
  ordered_at = performance.now();
  const held = !even_if_held && table.held && table.order.length > 0;
  if (!held) table.show(selection.order, state.fleet);
  find("reorder").hidden = !held || same_order(table.order, selection.order);
}

/**
 * @param {Partial<import("./url.js").Filters>} wanted
 * @param {boolean} typing typing replaces the address, a choice is a step back can undo
 */
function change(wanted, typing) {
  const only_vehicle = Object.keys(wanted).every((name) => name === "v");
  filters = { ...filters, ...wanted };
  ignored = [];
  const address = `${location.pathname}${format(filters)}`;
  if (typing) history.replaceState(null, "", address);
  else if (address !== `${location.pathname}${location.search}`) history.pushState(null, "", address);
  show_filters(!only_vehicle);
}

function clear() {
  change({ ...no_filters(), sort: filters.sort, v: filters.v }, false);
}

/** @param {boolean} order_too */
function show_filters(order_too) {
  if (order_too) {
    state.first = null; // it was for the filters before
    reorder(true);
    find("grid").scrollTop = 0;
  }
  show_vehicle();
  draw_soon();
}

/** Opens or closes the panel as the filters say; the focus goes in, and back to the grid. */
function show_vehicle() {
  const was_inside = find("drawer").contains(document.activeElement);
  if (filters.v === "") {
    drawer.close();
    if (was_inside) find("grid").focus();
    return;
  }
  const slash = filters.v.indexOf("/");
  drawer.open(filters.v.slice(0, slash), filters.v.slice(slash + 1));
  if (!was_inside) find("drawer-close").focus();
}

function draw_soon() {
  if (frame_asked) return;
  frame_asked = true;
  requestAnimationFrame(draw);
}

function draw() {
  frame_asked = false;
  const now = performance.now();
  if (order_due && (now - ordered_at >= REORDER_EVERY_MS || first_rows())) reorder(false);
  const server_now = state.server_now(now);
  const { fleet } = state;
  const whole_tally = state.loaded ? fleet.tally : state.server_tally;
  const total = state.loaded ? fleet.size : (state.server_tally?.reduce((sum, each) => sum + each) ?? 0);
  banner.draw(message(link.link, state, ignored, now));
  counts.draw(of_a_part(filters) ? selection.tally : whole_tally, filters.status);
  filter_row.draw(filters, fleet, state.first?.found ?? table.order.length, total);
  table.draw(server_now, filters.v);
  const open = fleet.find(filters.v);
  drawer.draw(fleet, open, server_now);
  demo?.show(drawer.customer, drawer.vehicle, drawer.detail?.offline_after_ms ?? NaN);
  draw_hints();
}

/** The first vehicles of an empty fleet are shown at once: nobody is reading rows yet. */
const first_rows = () => table.order.length === 0 && !narrowed(filters);

function draw_hints() {
  const { size } = state.fleet;
  find("grid").ariaBusy = String(!state.loaded);
  find("empty").hidden = !(state.loaded && size === 0);
  find("no-match").hidden = !(state.loaded && size > 0 && table.order.length === 0);
  const text = `0 of ${whole(size)} match the filters.`;
  if (find("no-match-text").textContent !== text) find("no-match-text").textContent = text;
}

/** @param {KeyboardEvent} event */
function key(event) {
  const writing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (event.key === "/" && !writing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    filter_row.search.focus();
    filter_row.search.select();
  } else if (event.key === "Escape" && filters.v !== "" && !writing) {
    change({ v: "" }, false);
  }
}

function start() {
  find("not-started").remove();
  find("empty-command").textContent =
    `mosquitto_pub -h ${location.hostname} -p 1883 -t fleet/acme/TRK-1/heartbeat -m '{}'`;
  find("reorder").addEventListener("click", () => {
    reorder(true);
    draw_soon();
  });
  find("no-match-clear").addEventListener("click", clear);
  table.on_scroll = draw_soon;
  addEventListener("resize", () => {
    table.measure();
    draw_soon();
  });
  addEventListener("keydown", key);
  addEventListener("online", () => link.poke());
  document.addEventListener("visibilitychange", () => document.hidden || link.poke());
  addEventListener("popstate", () => {
    ({ filters, ignored } = parse(location.search));
    show_filters(true);
  });
  setInterval(draw_soon, TICK_MS);
  if (filters.v !== "") show_vehicle();
  link.connect();
  show_demo();
  import("./proof.js").then(({ follow_proof }) => follow_proof(find("proof")));
}

/** Loaded only where it is wanted: the page's first paint does not wait for it. */
async function show_demo() {
  if (!(await is_demo())) return;
  const { DemoButtons } = await import("./demo.js");
  demo = new DemoButtons(document);
  draw_soon();
}

/** What the service wrote into the page; absent in a page that was not served by it. */
function begin() {
  const text = find("first-rows")?.textContent;
  if (text) state.begin(JSON.parse(text), performance.now());
  if (text || narrowed(filters)) reorder(true);
}

begin();
start();
if (state.first) draw(); // with the first paint, not after it
