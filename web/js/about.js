/**
 * About: what this page is connected to and how well, and whose work it carries. Loaded by panes.js when it is opened;
 * the facts come with each draw, the licences from the files themselves.
 */
import { Facts } from "./drawer-facts.js";
import { Trouble, element } from "./elements.js";
import { libraries } from "./reads.js";
import { canary_words, date_time, duration, whole } from "./words.js";

const PROTOCOL = "rollcall.v1.bin";
/** What comes with the page beside the libraries. */
const DATA = [
  {
    name: "Natural Earth (coasts and borders, by world-atlas 2.0.2)",
    licence: "Public domain / ISC",
    text: "/data/LICENSE-world-atlas.txt",
  },
];

export class About {
  /** @param {Document} page */
  constructor(page) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.service = new Facts(find("about-service"));
    this.connection = new Facts(find("about-connection"));
    this.list = find("about-licences");
    this.trouble = new Trouble(find("about-trouble"), () => this.#read());
    this.#read();
  }

  async #read() {
    try {
      this.trouble.clear();
      const files = await libraries();
      const each = new Map(files.map((file) => [file.package, file]));
      const made = [...each.values()].map(({ package: name, version, licence }) => ({
        ...{ name: `${name} ${version}`, licence, text: `/vendor/${name}@${version}/LICENSE.txt` },
      }));
      this.list.replaceChildren(...[...made, ...DATA].map(licence_item));
    } catch (error) {
      this.trouble.say("The licences could not be read", error);
    }
  }

  /** @param {import("./panes.js").View} view @param {any} status what the service told of itself */
  draw({ state, link, server_now, now }, status) {
    this.service.draw(service_facts(state, status, server_now));
    this.connection.draw(connection_facts(state, link, now));
  }
}

/**
 * @param {import("./state.js").LiveState} state @param {any} status @param {number} server_now
 * @returns {Record<string, string>}
 */
function service_facts(state, status, server_now) {
  if (status === null) return { Service: "cannot be asked right now" };
  const { store, detection_lag_ms: lag, intake, dashboards, version, started_at } = status;
  const started = Date.parse(started_at);
  const waits = store?.spool_rows > 0 ? `, ${whole(store.spool_rows)} transitions wait on disk` : "";
  return {
    Version: state.service.page === "" ? version : `${version} (this page: ${state.service.page})`,
    Started: `${date_time(started)}, runs for ${duration(server_now - started)}`,
    Store: store ? `${store.kind}, ${store.ok ? "takes writes" : "takes no writes"}${waits}` : "",
    Listening: status.listening ? "yes" : `no: ${status.blind_cause ?? ""}`,
    "Test heartbeats": canary_words(status.canary ?? null) || "switched off, or not known yet",
    "Detection lag": lag ? `half within ${lag.p50} ms, 99 % within ${lag.p99} ms, at most ${lag.max} ms` : "",
    Heartbeats: intake ? `${whole(Math.round(intake.per_s))} a second, ${whole(intake.refused)} refused so far` : "",
    Dashboards: dashboards === undefined ? "" : whole(dashboards),
  };
}

/** @param {import("./state.js").LiveState} state @param {import("./live.js").Link} link @param {number} now */
function connection_facts(state, link, now) {
  const { pace, epoch, version, fleet } = state;
  const behind = Number.isNaN(pace.delay_ms) ? "" : `at most ${(pace.delay_ms / 1_000).toFixed(1)} s`;
  return {
    Protocol: PROTOCOL,
    State: link.phase === "open" ? `open, last heard ${duration(now - link.heard_at)} ago` : link.phase,
    Epoch: epoch,
    "At version": version === null ? "none" : whole(version),
    Delay: behind,
    "Updates every": `${pace.slowed_ms || pace.tick_ms} ms`,
    "Dropped transitions": `${whole(pace.dropped)} (read again by REST)`,
    "Started over": `${whole(pace.resyncs)} times`,
    "Vehicles held": whole(fleet.size),
  };
}

/** @param {{name: string, licence: string, text: string}} library */
function licence_item({ name, licence, text }) {
  const item = element("li", "");
  const link = /** @type {HTMLAnchorElement} */ (element("a", "", licence));
  link.href = text;
  link.ariaLabel = `${licence}: the licence of ${name}`;
  item.append(element("span", "", name), link);
  return item;
}
