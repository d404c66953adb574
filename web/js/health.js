/**
 * How the service itself is: read from time to time while the page is looked at. Says in words which part does not
 * work, and what its own test heartbeats prove; draws the latter beside the state of the connection.
 * Loaded by panes.js; reads through reads.js. Its words are drawn by banner.js, its facts by about.js.
 */
import { write } from "./elements.js";
import { service_status } from "./reads.js";
import { canary_words, degraded_words } from "./words.js";

const EVERY_MS = 5_000;

export class Health {
  /** @param {HTMLElement} proof @param {() => void} on_change */
  constructor(proof, on_change) {
    this.proof = proof;
    this.on_change = on_change;
    /** What the service told of itself last; null when nobody can say. @type {any} */
    this.status = null;
    /** Which part does not work, and what that means; "" when all do. */
    this.degraded = "";
    setInterval(() => document.hidden || this.read(), EVERY_MS);
    document.addEventListener("visibilitychange", () => document.hidden || this.read());
    this.read();
  }

  async read() {
    this.status = await service_status();
    this.degraded = degraded_words(this.status);
    write(this.proof, canary_words(this.status?.canary ?? null));
    this.on_change();
  }
}
