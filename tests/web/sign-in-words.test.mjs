/** Why the identity provider brought nobody, in words. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { trouble_words } from "../../web/js/sign-in-words.js";

test("each word of the service is a sentence, and what else an address says is not shown", () => {
  assert.equal(trouble_words(""), "");
  assert.match(trouble_words("?trouble=stranger&next=%2F"), /may not see anything here/);
  for (const strange of ["<b>", "constructor", "__proto__"]) {
    assert.equal(trouble_words(`?trouble=${strange}`), "You were not signed in. Try again.");
  }
});
