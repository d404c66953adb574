/**
 * One line above everything: says when the page does not show the present, or a part of Rollcall does not do its work.
 * Fed by app.js with the link (live.js), what the page knows (state.js) and how the service is (health.js). message()
 * decides, Banner draws.
 */
import { pulse } from "./pulse.js";
import { blind_words, clock_time, duration, whole } from "./words.js";

/** How long "up to date again" stays. */
const CAUGHT_UP_FOR_MS = 8_000;

/**
 * @typedef {object} Message
 * @property {"connecting"|"loading"|"lost"|"refused"|"stale"|"degraded"|"blind"|"updated"|"caught-up"|"behind"|"notice"
 *   |"live"} kind
 * @property {string} text    read out when it changes, so nothing in it ticks
 * @property {string} ticking beside it, not read out
 * @property {""|"retry"|"reload"|"sign-in"} action  what is offered
 */

/**
 * @param {import("./live.js").Link} link
 * @param {import("./state.js").LiveState} state
 * @param {string[]} ignored
 * @param {string} degraded  which part of the service does not work, and what that means; "" when all do
 * @param {number} now
 * @returns {Message}
 */
export function message(link, state, ignored, degraded, now) {
  return (
    of_link(link, state, now) ??
    of_service(state, degraded) ??
    of_page(state, ignored, now) ?? { kind: "live", text: "", ticking: "", action: "" }
  );
}

/** @param {Message["kind"]} kind @param {string} text @param {string} ticking @param {Message["action"]} action */
const say = (kind, text, ticking = "", action = /** @type {Message["action"]} */ ("")) => ({
  ...{ kind, text, ticking, action },
});

/**
 * Whether the page shows the present at all.
 * @param {import("./live.js").Link} link @param {import("./state.js").LiveState} state @param {number} now
 * @returns {Message|null}
 */
function of_link(link, state, now) {
  const at = (/** @type {number} */ moment) => clock_time(Date.now() - (now - moment));
  const silent_ms = now - link.heard_at;
  const data = state.loaded ? " Showing data from then." : "";
  if (link.lost_at !== null && link.refused) {
    const what =
      link.refused === 401 ? "You are not signed in, or not any more" : "This account may not see the live fleet";
    return say("refused", `${what}: no updates since ${at(link.lost_at)}.${data}`, "", "sign-in");
  }
  if (link.lost_at !== null) {
    const cause = link.bye === "" ? "Connection lost" : `The server closed the connection (${link.bye})`;
    const next =
      link.retry_at === null ? "Connecting …" : `Retrying in ${Math.max(0, Math.ceil((link.retry_at - now) / 1000))} s`;
    return say("lost", `${cause} at ${at(link.lost_at)}.${data}`, next, link.retry_at === null ? "" : "retry");
  }
  if (link.phase === "connecting") return say("connecting", "Connecting to the server …");
  if (pulse(silent_ms) !== "well") {
    const text = `No updates since ${at(link.heard_at)}. Values may be old.`;
    return say("stale", text, `silent for ${duration(silent_ms)}`, "retry");
  }
  return state.loaded ? null : say("loading", loading(state), progress(state));
}

/**
 * Whether the service can do its work.
 * @param {import("./state.js").LiveState} state @param {string} degraded
 * @returns {Message|null}
 */
function of_service(state, degraded) {
  if (degraded !== "") return say("degraded", degraded);
  if (state.observation.listening) return null;
  const since = clock_time(Date.parse(state.observation.since));
  const cause = blind_words(state.observation.scope ?? "", state.observation.cause ?? "");
  return say("blind", `Rollcall itself was not listening since ${since}${cause}. No vehicle is called offline for it.`);
}

/**
 * What else is worth knowing of this page.
 * @param {import("./state.js").LiveState} state @param {string[]} ignored @param {number} now
 * @returns {Message|null}
 */
function of_page(state, ignored, now) {
  const { service, caught_up, pace } = state;
  if (differ(service.page, service.now)) {
    const text = `Dashboard was updated to version ${service.now}. This page is of ${service.page}.`;
    return say("updated", text, "", "reload");
  }
  if (differ(service.page_files, service.files)) {
    return say("updated", "Dashboard was updated. This page is of an older build.", "", "reload");
  }
  if (caught_up !== null && now - caught_up.at < CAUGHT_UP_FOR_MS) {
    const { changes } = caught_up;
    const what = changes === 0 ? "nothing changed" : `${whole(changes)} ${changes === 1 ? "change" : "changes"}`;
    return say("caught-up", `Up to date again, ${what} while away.`);
  }
  if (pace.slowed_ms > 0) {
    const text = "This page or its connection is slower than the fleet. Each update still brings the newest values.";
    return say("behind", `Updates slowed to ${duration(pace.slowed_ms)}. ${text}`);
  }
  if (ignored.length > 0) return say("notice", `Not understood in the address, so left out: ${ignored.join(", ")}`);
  return null;
}

/** What is not known yet differs from nothing. @param {string} before @param {string} now */
const differ = (before, now) => before !== "" && now !== "" && before !== now;

/** @param {import("./state.js").LiveState} state */
function loading({ server_tally }) {
  const total = server_tally?.reduce((sum, each) => sum + each, 0) ?? 0;
  return total > 0 ? `Loading ${whole(total)} vehicles …` : "Loading vehicles …";
}

/** @param {import("./state.js").LiveState} state */
const progress = ({ incoming }) =>
  incoming === null || incoming.total === 0 ? "" : `${Math.floor((100 * incoming.received) / incoming.total)} %`;

/** The word in the header; "" is live. @type {Partial<Record<Message["kind"], string>>} */
const STATE_WORDS = {
  connecting: "Connecting",
  loading: "Loading",
  lost: "Not connected",
  refused: "Not signed in",
  stale: "Stale",
  blind: "Not listening",
};
/** These are read out at once, the rest when there is time. */
const TROUBLES = ["lost", "refused", "stale", "degraded"];
const ACTIONS = { "": "", retry: "Retry now", reload: "Reload", "sign-in": "Sign in" };

/** "Live, 0.3 s behind" @param {import("./pulse.js").Pace} pace */
const live_words = ({ delay_ms }) =>
  Number.isNaN(delay_ms) ? "Live" : `Live, ${(Math.max(50, delay_ms) / 1_000).toFixed(1)} s behind`;

export class Banner {
  /** @param {Document} page @param {(action: Message["action"]) => void} on_action */
  constructor(page, on_action) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.root = find("banner");
    this.alert = find("banner-alert");
    this.status = find("banner-status");
    this.ticking = find("banner-ticking");
    this.action = find("banner-action");
    this.word = find("link-state");
    /** @type {Message["action"]} */ this.offered = "";
    this.action.addEventListener("click", () => on_action(this.offered));
  }

  /** @param {Message} message @param {import("./pulse.js").Pace} pace */
  draw(message, pace) {
    const trouble = TROUBLES.includes(message.kind);
    this.root.dataset.kind = message.kind;
    this.root.classList.toggle("empty", message.text === "");
    write(this.alert, trouble ? message.text : "");
    write(this.status, trouble ? "" : message.text);
    write(this.ticking, message.ticking);
    write(this.word, STATE_WORDS[message.kind] ?? live_words(pace));
    this.word.dataset.kind = message.kind;
    this.offered = message.action;
    write(this.action, ACTIONS[message.action]);
    this.action.hidden = message.action === "";
  }
}

/** @param {HTMLElement} element @param {string} text */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
