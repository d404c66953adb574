/**
 * The colours of the page as the map needs them, and when they change: the map is never in another theme than the page.
 * Fed by the style sheet (app.css) and the theme button; read by map.js.
 */
import { channels } from "./map-style.js";

/** In the order of STATUSES (fleet.js). */
const STATUS_COLOURS = ["--online", "--offline", "--unknown", "--unknown"];

/** The colours now. */
export function colours_of_page() {
  const style = getComputedStyle(document.documentElement);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return {
    ground: {
      land: colour("--map-land"),
      sea: colour("--map-sea"),
      line: colour("--map-line"),
      text: colour("--muted"),
    },
    ink: { text: colour("--text"), halo: colour("--bg"), accent: colour("--accent") },
    statuses: STATUS_COLOURS.flatMap((name) => channels(colour(name))),
  };
}

/** Tells of every change of theme, by hand or by the system. @param {() => void} tell @returns {() => void} stops it */
export function watch_theme(tell) {
  const by_hand = new MutationObserver(tell);
  by_hand.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  const by_system = matchMedia("(prefers-color-scheme: light)");
  by_system.addEventListener("change", tell);
  return () => {
    by_hand.disconnect();
    by_system.removeEventListener("change", tell);
  };
}
