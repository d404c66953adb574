/**
 * A small identity provider for the sign-in tests: one page with a button, and what OpenID Connect asks for behind it.
 * It runs as localhost while the service runs as 127.0.0.1, so that for a browser it is another site.
 */
import { createHash, createSign, generateKeyPairSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

export class Provider {
  /** @param {object} person the claims of whoever signs in */
  constructor(person) {
    this.person = person;
    this.keys = generateKeyPairSync("rsa", { modulusLength: 2048 });
    this.codes = new Map();
    this.server = createServer((request, answer) => this.#answer(request, answer));
  }

  async start() {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    this.issuer = `http://localhost:${this.server.address().port}`;
    return this;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }

  async #answer(request, answer) {
    const url = new URL(request.url, this.issuer);
    const json = (value, status = 200) => answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    if (url.pathname === "/.well-known/openid-configuration") {
      json({ issuer: this.issuer, authorization_endpoint: `${this.issuer}/authorize`, token_endpoint: `${this.issuer}/token`, jwks_uri: `${this.issuer}/keys` });
    } else if (url.pathname === "/keys") {
      json({ keys: [{ ...this.keys.publicKey.export({ format: "jwk" }), kid: "r", use: "sig", alg: "RS256" }] });
    } else if (url.pathname === "/authorize") {
      answer.writeHead(200, { "content-type": "text/html" }).end(`<!doctype html><title>ID</title><a href="/agree${url.search.replaceAll("&", "&amp;")}">Agree</a>`);
    } else if (url.pathname === "/agree") {
      const code = randomBytes(8).toString("hex");
      this.codes.set(code, url.searchParams);
      const back = new URL(url.searchParams.get("redirect_uri"));
      back.search = new URLSearchParams({ code, state: url.searchParams.get("state") }).toString();
      answer.writeHead(302, { location: back.href }).end();
    } else if (url.pathname === "/token") {
      let body = "";
      for await (const part of request) body += part;
      const form = new URLSearchParams(body);
      const asked = this.codes.get(form.get("code"));
      this.codes.delete(form.get("code"));
      const challenge = createHash("sha256").update(form.get("code_verifier")).digest("base64url");
      if (challenge !== asked?.get("code_challenge")) return json({ error: "invalid_grant" }, 400);
      json({ token_type: "Bearer", access_token: "unused", id_token: this.#token(asked.get("nonce")) });
    } else answer.writeHead(404).end();
  }

  #token(nonce) {
    const now = Math.floor(Date.now() / 1_000);
    const claims = { iss: this.issuer, aud: "rollcall", nonce, iat: now, exp: now + 60, ...this.person };
    const signed = `${encoded({ alg: "RS256", kid: "r" })}.${encoded(claims)}`;
    return `${signed}.${createSign("RSA-SHA256").update(signed).sign(this.keys.privateKey, "base64url")}`;
  }
}

/** A port that nobody uses at this moment. */
export async function free_port() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}
