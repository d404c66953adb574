/**
 * A stretch of the past of one vehicle cut into pieces of one status, and the same said in a sentence. Pure.
 * Fed by drawer-history.js with transitions and blind intervals, which draws the pieces.
 */
import { duration, status_word } from "./words.js";

/**
 * @typedef {{from: number, to: number, status: string}} Piece  status "": before what is known
 * @typedef {{from: number, to: number|null}} Interval
 */

/**
 * @param {import("./state.js").Transition[]} transitions newest first, of [from, to) at least as far as `known_from`
 * @param {Interval[]} blind when Rollcall itself could not listen
 * @param {number} from
 * @param {number} to
 * @param {string} now the status at `to`
 * @param {number} known_from nothing is known before
 * @returns {Piece[]} without gaps from `from` to `to`; the silence of the deaf is unobserved
 */
export function pieces_of(transitions, blind, from, to, now, known_from) {
  /** @type {Piece[]} */
  const pieces = [];
  let [end, status] = [to, now];
  for (const each of transitions) {
    const at = Math.min(Date.parse(each.at), end);
    if (at <= from) break;
    if (at < end) pieces.unshift({ from: at, to: end, status });
    [end, status] = [at, each.from];
  }
  const begin = Math.max(from, Math.min(known_from, end));
  if (begin < end) pieces.unshift({ from: begin, to: end, status });
  if (from < begin) pieces.unshift({ from, to: begin, status: "" });
  return pieces.flatMap((piece) => (piece.status === "offline" ? deaf(piece, blind) : [piece]));
}

/** What of a silence was our own deafness: it may have spoken. @param {Piece} piece @param {Interval[]} blind */
function deaf(piece, blind) {
  /** @type {Piece[]} */
  const pieces = [];
  let from = piece.from;
  for (const each of [...blind].sort((a, b) => a.from - b.from)) {
    const [begin, end] = [Math.max(from, each.from), Math.min(piece.to, each.to ?? piece.to)];
    if (begin >= end) continue;
    if (from < begin) pieces.push({ from, to: begin, status: "offline" });
    pieces.push({ from: begin, to: end, status: "unobserved" });
    from = end;
  }
  if (from < piece.to) pieces.push({ from, to: piece.to, status: "offline" });
  return pieces;
}

/** "online 23 h 10 min; offline 40 min, 2 times" @param {Piece[]} pieces */
export function spoken(pieces) {
  /** @type {Map<string, {ms: number, times: number}>} */
  const sums = new Map();
  for (const { status, from, to } of pieces) {
    const sum = sums.get(status) ?? { ms: 0, times: 0 };
    sums.set(status, { ms: sum.ms + to - from, times: sum.times + 1 });
  }
  const said = [...sums].filter(([, { ms }]) => ms >= 1_000).sort(([, a], [, b]) => b.ms - a.ms);
  return said
    .map(([status, { ms, times }]) => {
      const word = status === "" ? "not known" : status_word(status).toLowerCase();
      return `${word} ${duration(ms)}${times > 1 ? `, ${times} times` : ""}`;
    })
    .join("; ");
}
