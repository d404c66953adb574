/**
 * What the operator chose for the map, read from the service; and the operator's style from its own host.
 * Fed by the network; feeds map-pane.js. A choice that cannot be read is no reason to show no map.
 */

/** @typedef {import("./map-style.js").Choice} Choice */
/** @typedef {import("maplibre-gl").StyleSpecification} Style */

const NOTHING_CHOSEN = { style_url: null, raster_tiles: null, attribution: null, pmtiles: null };
const PATIENCE_MS = 10_000;

/** @returns {Promise<Choice>} */
export async function read_choice() {
  try {
    const answer = await fetch("/api/v1/map");
    return answer.ok ? await answer.json() : NOTHING_CHOSEN;
  } catch {
    return NOTHING_CHOSEN; // an older service, or none right now: banner.js says the latter
  }
}

/**
 * The operator's style, or why there is none.
 * @param {string} url
 * @returns {Promise<{style: Style|null, trouble: string}>}
 */
export async function read_style(url) {
  const { host } = new URL(url);
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) return failed(host, `it answers ${answer.status}`);
    const style = await answer.json();
    if (style?.version !== 8 || !Array.isArray(style.layers)) return failed(host, "that is no MapLibre style");
    return { style, trouble: "" };
  } catch (error) {
    return failed(host, error instanceof SyntaxError ? "that is no JSON" : "it cannot be reached");
  }
}

/** @param {string} host @param {string} why */
const failed = (host, why) => ({
  style: null,
  trouble: `The map style at ${host} cannot be used: ${why}. This is the built-in map.`,
});
