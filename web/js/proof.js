/**
 * How long a heartbeat takes from a vehicle to the service, by the service's own test: said beside the state of the
 * connection. Loaded by app.js after the first paint; reads through reads.js.
 */
import { read_canary } from "./reads.js";
import { canary_words } from "./words.js";

const EVERY_MS = 10_000;

/** Writes it now, and from time to time while the page is looked at. @param {HTMLElement} element */
export function follow_proof(element) {
  const draw = async () => {
    if (document.hidden) return;
    const text = canary_words(await read_canary());
    if (element.textContent !== text) element.textContent = text;
  };
  setInterval(draw, EVERY_MS);
  draw();
}
