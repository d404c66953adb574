/**
 * Puts the page together: frames come from live.js, go into state.js, and the views draw what came of it, once a
 * screen frame. Everything but the list is in panes.js, which comes after the first paint.
 * Owns the filters, the order of the table and the keys that work everywhere.
 */
import { Banner, message } from "./banner.js";
import { Counts } from "./counts.js";
import { FilterRow, ViewTabs } from "./filters.js";
import { CHANGED } from "./fleet.js";
import { LiveLink, live_url } from "./live.js";
import { affects_order, same_order, select } from "./order.js";
import { LOAD_AGAIN_MS } from "./pulse.js";
import { LiveState } from "./state.js";
import { VehicleTable } from "./table.js";
import { format, narrowed, no_filters, of_a_part, parse, sign_in_address, toggled } from "./url.js";
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
const tabs = new ViewTabs(document, change);
const filter_row = new FilterRow(document, change, clear);
/** @type {import("./panes.js").Panes|null} everything beside the list; null before the first paint */
let panes = null;
const link = new LiveLink(live_url(location), {
  on_frame: receive,
  on_progress: (received, total) => {
    state.incoming = { received, total };
    draw_soon();
  },
  resume_point: () => state.resume_point(),
  on_lost: () => state.lost(),
  // Whoever saw the fleet already goes on seeing it as it was, with a button that leads there.
  on_change: () => {
    if (link.link.refused === 401 && !state.loaded) location.replace(sign_in_address(location));
    else draw_soon();
  },
});
const banner = new Banner(document, (action) => {
  if (action === "retry") link.poke();
  else if (action === "reload") location.reload();
  else location.assign(sign_in_address(location));
});

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
  panes?.hear(outcome);
  if (frame.type === "counts" && state.server_tally)
    panes?.count(state.server_tally, state.server_now(performance.now()));
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
  const only_vehicle = Object.keys(wanted).every((name) => ["v", "view"].includes(name));
  filters = { ...filters, ...wanted };
  ignored = [];
  const address = `${location.pathname}${format(filters)}`;
  if (typing) history.replaceState(null, "", address);
  else if (address !== `${location.pathname}${location.search}`) history.pushState(null, "", address);
  show_filters(!only_vehicle);
}

function clear() {
  const { sort, v, view, ll, z } = filters;
  change({ ...no_filters(), sort, v, view, ll, z }, false);
}

/** The map was moved: the address keeps where to, without a step back for each. @param {string} ll @param {string} z */
function look(ll, z) {
  filters = { ...filters, ll, z };
  history.replaceState(null, "", `${location.pathname}${format(filters)}`);
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
  if (panes === null) return; // it is shown when they come
  const was_inside = find("drawer").contains(document.activeElement);
  const is_open = panes.show_vehicle(filters.v, state.server_now(performance.now()));
  if (is_open && !was_inside) find("drawer-close").focus();
  else if (!is_open && was_inside) find("grid").focus();
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
  if (panes?.files) state.service.files = panes.files;
  const total = state.loaded ? fleet.size : (state.server_tally?.reduce((sum, each) => sum + each) ?? 0);
  banner.draw(message(link.link, state, ignored, panes?.degraded ?? "", now), state.pace);
  counts.draw(of_a_part(filters) ? selection.tally : whole_tally, filters.status);
  filter_row.draw(filters, fleet, state.first?.found ?? table.order.length, total);
  table.draw(server_now, filters.v);
  tabs.draw(filters.view);
  panes?.draw({ state, link: link.link, filters, narrow: tabs.narrow.matches, server_now, now });
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
  if (writing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    filter_row.search.focus();
    filter_row.search.select();
  } else if (event.key === "Escape" && filters.v !== "") {
    change({ v: "" }, false);
  } else if (event.key === "m") {
    change({ view: "map" }, false);
    find("map").querySelector("canvas")?.focus();
  } else if (event.key === "?") {
    change({ view: "about" }, false);
    find("about-pane").focus();
  }
}

function start() {
  find("not-started").remove();
  const { hostname } = location;
  find("empty-command").textContent = `mosquitto_pub -h ${hostname} -p 1883 -t fleet/acme/TRK-1/heartbeat -m '{}'`;
  find("empty-simulator").textContent = `simulator --broker mqtt://${hostname}:1883 --vehicles 200 --interval 2s`;
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
  tabs.narrow.addEventListener("change", draw_soon);
  link.connect();
  show_panes();
}

/** The page's first paint does not wait for them. */
async function show_panes() {
  try {
    const { Panes } = await import("./panes.js");
    panes = new Panes(document, { change: (wanted) => change(wanted, false), look, redraw: draw_soon });
    show_vehicle();
    draw_soon();
  } catch (error) {
    console.warn("panes:", error);
    find("map-message").textContent = "Only the list could be loaded. Trying again …";
    setTimeout(show_panes, LOAD_AGAIN_MS);
  }
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
