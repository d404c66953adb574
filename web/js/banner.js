/**
 * One line above everything: says when the page does not show the present, or Rollcall itself could not listen.
 * Fed by app.js with the link (live.js) and what the page knows (state.js). message() decides, Banner draws.
 */
import { pulse } from "./pulse.js";
import { blind_words, clock_time, duration, whole } from "./words.js";

/** How long "up to date again" stays. */
const CAUGHT_UP_FOR_MS = 8_000;

/**
 * @typedef {object} Message
 * @property {"connecting"|"loading"|"lost"|"stale"|"blind"|"caught-up"|"notice"|"live"} kind
 * @property {string} text    read out when it changes, so nothing in it ticks
 * @property {string} ticking beside it, not read out
 * @property {boolean} retry  offers "Retry now"
 */

/**
 * @param {import("./live.js").Link} link
 * @param {import("./state.js").LiveState} state
 * @param {string[]} ignored
 * @param {number} now
 * @returns {Message}
 */
export function message(link, state, ignored, now) {
  const at = (/** @type {number} */ moment) => clock_time(Date.now() - (now - moment));
  /**
   * @param {Message["kind"]} kind
   * @param {string} text
   * @param {string} ticking
   * @param {boolean} retry
   * @returns {Message}
   */
  const say = (kind, text, ticking = "", retry = false) => ({ kind, text, ticking, retry });
  const silent_ms = now - link.heard_at;

  if (link.lost_at !== null) {
    const cause = link.bye === "" ? "Connection lost" : `The server closed the connection (${link.bye})`;
    const data = state.loaded ? " Showing data from then." : "";
    const next =
      link.retry_at === null
        ? "Connecting …"
        : `Retrying in ${Math.max(0, Math.ceil((link.retry_at - now) / 1000))} s`;
    return say("lost", `${cause} at ${at(link.lost_at)}.${data}`, next, link.retry_at !== null);
  }
  if (link.phase === "connecting") return say("connecting", "Connecting to the server …");
  if (pulse(silent_ms) !== "well") {
    return say(
      "stale",
      `No updates since ${at(link.heard_at)}. Values may be old.`,
      `silent for ${duration(silent_ms)}`,
      true,
    );
  }
  if (!state.loaded) return say("loading", loading(state), progress(state));
  if (!state.observation.listening) {
    const since = clock_time(Date.parse(state.observation.since));
    const cause = blind_words(state.observation.scope ?? "", state.observation.cause ?? "");
    return say(
      "blind",
      `Rollcall itself was not listening since ${since}${cause}. No vehicle is called offline for it.`,
    );
  }
  if (state.caught_up !== null && now - state.caught_up.at < CAUGHT_UP_FOR_MS) {
    const { changes } = state.caught_up;
    const what = changes === 0 ? "nothing changed" : `${whole(changes)} ${changes === 1 ? "change" : "changes"}`;
    return say("caught-up", `Up to date again, ${what} while away.`);
  }
  if (ignored.length > 0) return say("notice", `Not understood in the address, so left out: ${ignored.join(", ")}`);
  return say("live", "");
}

/** @param {import("./state.js").LiveState} state */
function loading({ server_tally }) {
  const total = server_tally?.reduce((sum, each) => sum + each, 0) ?? 0;
  return total > 0 ? `Loading ${whole(total)} vehicles …` : "Loading vehicles …";
}

/** @param {import("./state.js").LiveState} state */
const progress = ({ incoming }) =>
  incoming === null || incoming.total === 0 ? "" : `${Math.floor((100 * incoming.received) / incoming.total)} %`;

/** The word in the header. @type {Record<Message["kind"], string>} */
const STATE_WORDS = {
  connecting: "Connecting",
  loading: "Loading",
  lost: "Not connected",
  stale: "Stale",
  blind: "Not listening",
  "caught-up": "Live",
  notice: "Live",
  live: "Live",
};

export class Banner {
  /** @param {Document} page @param {() => void} on_retry */
  constructor(page, on_retry) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.root = find("banner");
    /** Trouble is read out at once, the rest when there is time. */
    this.alert = find("banner-alert");
    this.status = find("banner-status");
    this.ticking = find("banner-ticking");
    this.retry = find("retry");
    this.word = find("link-state");
    this.retry.addEventListener("click", on_retry);
  }

  /** @param {Message} message */
  draw(message) {
    const trouble = message.kind === "lost" || message.kind === "stale";
    this.root.dataset.kind = message.kind;
    this.root.classList.toggle("empty", message.text === "");
    write(this.alert, trouble ? message.text : "");
    write(this.status, trouble ? "" : message.text);
    write(this.ticking, message.ticking);
    write(this.word, STATE_WORDS[message.kind]);
    this.word.dataset.kind = message.kind;
    this.retry.hidden = !message.retry;
  }
}

/** @param {HTMLElement} element @param {string} text */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
