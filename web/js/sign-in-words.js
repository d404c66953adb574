/**
 * Why the identity provider brought nobody: the service leads back to the page with one word, and this says it in a
 * sentence. What an address says is never shown itself. Pure; read by sign-in.js.
 */

/** @type {Record<string, string>} */
const SENTENCES = {
  lost: "That sign-in took too long, or was begun in another window. Try again.",
  declined: "You were not signed in there. Try again, or sign in here.",
  away: "The single sign-on does not answer. Try again later, or sign in with a password or a key.",
  untrue: "The answer of the single sign-on could not be believed. Tell whoever runs Rollcall; the log says why.",
  stranger: "You are known there, but may not see anything here. Ask whoever runs Rollcall for access.",
  disabled: "You may not sign in here any more. Ask whoever runs Rollcall.",
  taken: "Somebody else has your user name here already. Ask whoever runs Rollcall.",
  busy: "Too many attempts. Wait a little, then try again.",
  store: "Nobody can sign in at the moment: the store does not answer. Try again later.",
};

/** @param {string} search the query of the page's address */
export function trouble_words(search) {
  const word = new URLSearchParams(search).get("trouble") ?? "";
  if (word === "") return "";
  return Object.hasOwn(SENTENCES, word) ? SENTENCES[word] : "You were not signed in. Try again.";
}
