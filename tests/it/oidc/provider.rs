//! A small identity provider: the code flow with PKCE as the standards want it, and a hand on each part of it, so
//! that a test can make it lie. Used by the tests of signing in with one.

use std::collections::{HashMap, HashSet};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::http::header::{AUTHORIZATION, LOCATION};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::ServerConfig;
use serde_json::{Value, json};

pub const CLIENT: &str = "rollcall";
pub const SECRET: &str = "a client's secret: 50% & more";

/// What a test does to a token before it is signed: its header, and its claims.
pub type Twist = Box<dyn Fn(&mut Value, &mut Value) + Send>;

struct Asked {
    nonce: String,
    challenge: String,
    redirect: String,
}

/// What the provider knows, and what tests change.
pub struct Books {
    /// How it calls itself.
    pub issuer: Mutex<String>,
    /// What it says of whoever signs in.
    pub person: Mutex<Value>,
    pub twist: Mutex<Twist>,
    /// Whether answers say whose they are, and whose.
    pub answers_as: Mutex<Option<String>>,
    /// What it says in place of a code.
    pub refuses: Mutex<Option<&'static str>>,
    signer: Mutex<(String, EcdsaKeyPair)>,
    published: Mutex<Vec<Value>>,
    codes: Mutex<HashMap<String, Asked>>,
    used: Mutex<HashSet<String>>,
    pub keys_read: AtomicU32,
    pub codes_redeemed: AtomicU32,
}

/// A running provider; it stops with its end.
pub struct Provider {
    pub issuer: String,
    /// Where a browser that knows no TLS finds the same.
    pub door: String,
    pub books: Arc<Books>,
    server: ServerHandle,
}

impl Provider {
    pub fn start() -> Self {
        Self::listening(None)
    }

    /// One that calls itself by https.
    pub fn with_tls(config: ServerConfig) -> Self {
        Self::listening(Some(config))
    }

    fn listening(tls: Option<ServerConfig>) -> Self {
        let bound = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let place = |listener: &TcpListener| listener.local_addr().expect("an address").to_string();
        let (listener, tls) = (bound(), tls.map(|config| (bound(), config)));
        let door = format!("http://{}/realm", place(&listener));
        let secured = tls.as_ref().map(|(listener, _)| format!("https://{}/realm", place(listener)));
        let issuer = secured.unwrap_or_else(|| door.clone());
        let books = Arc::new(Books {
            issuer: Mutex::new(issuer.clone()),
            person: Mutex::default(),
            twist: Mutex::new(Box::new(|_, _| {})),
            answers_as: Mutex::default(),
            refuses: Mutex::default(),
            signer: Mutex::new(("first".into(), signer())),
            published: Mutex::default(),
            codes: Mutex::default(),
            used: Mutex::default(),
            keys_read: AtomicU32::new(0),
            codes_redeemed: AtomicU32::new(0),
        });
        let data = web::Data::from(Arc::clone(&books));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .route("/realm/.well-known/openid-configuration", web::get().to(describe))
                .route("/realm/authorize", web::get().to(authorize))
                .route("/realm/token", web::post().to(token))
                .route("/realm/keys", web::get().to(keys))
        });
        let mut server = server.workers(1).disable_signals().listen(listener).expect("listens");
        if let Some((listener, config)) = tls {
            server = server.listen_rustls_0_23(listener, config).expect("listens");
        }
        let server = server.run();
        let provider = Self { issuer, door, books, server: server.handle() };
        tokio::spawn(server);
        provider.change_key("first");
        provider
    }

    /// Signs with a new key of this name from now on, and publishes no other.
    pub fn change_key(&self, id: &str) {
        self.sign_in_secret(id);
        let signer = self.books.signer.lock().expect("no panic");
        let point = signer.1.public_key().as_ref();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (x, y) = (part(&point[1..33]), part(&point[33..]));
        let key = json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": x, "y": y});
        *self.books.published.lock().expect("no panic") = vec![key];
    }

    /// Signs with a new key of this name that nobody is told of.
    pub fn sign_in_secret(&self, id: &str) {
        *self.books.signer.lock().expect("no panic") = (id.to_owned(), signer());
    }

    pub fn twist(&self, twist: impl Fn(&mut Value, &mut Value) + Send + 'static) {
        *self.books.twist.lock().expect("no panic") = Box::new(twist);
    }

    pub fn person(&self, person: Value) {
        *self.books.person.lock().expect("no panic") = person;
    }

    pub async fn stop(&self) {
        self.server.stop(false).await;
    }
}

fn signer() -> EcdsaKeyPair {
    let (way, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let made = EcdsaKeyPair::generate_pkcs8(way, &random).expect("made");
    EcdsaKeyPair::from_pkcs8(way, made.as_ref(), &random).expect("read")
}

async fn describe(books: web::Data<Books>) -> HttpResponse {
    let issuer = books.issuer.lock().expect("no panic").clone();
    HttpResponse::Ok().json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize?tenant=7"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "authorization_response_iss_parameter_supported": books.answers_as.lock().expect("no panic").is_some(),
        "something_new": [1, 2, 3]
    }))
}

/// Nobody is asked for a password: whoever comes is `person`.
async fn authorize(request: HttpRequest, books: web::Data<Books>) -> HttpResponse {
    let asked: HashMap<String, String> = serde_urlencoded::from_str(request.query_string()).expect("a query");
    for (name, value) in
        [("response_type", "code"), ("client_id", CLIENT), ("code_challenge_method", "S256"), ("tenant", "7")]
    {
        assert_eq!(asked[name], value, "{name}");
    }
    assert!(asked["scope"].split(' ').any(|scope| scope == "openid"));
    let code = format!("code-{}", books.codes.lock().expect("no panic").len());
    let (nonce, challenge) = (asked["nonce"].clone(), asked["code_challenge"].clone());
    let redirect = asked["redirect_uri"].clone();
    books.codes.lock().expect("no panic").insert(code.clone(), Asked { nonce, challenge, redirect: redirect.clone() });
    let mut answer = vec![("state", asked["state"].clone()), ("session_state", "abc.def".to_owned())];
    match *books.refuses.lock().expect("no panic") {
        Some(error) => answer.push(("error", error.to_owned())),
        None => answer.push(("code", code)),
    }
    answer.extend(books.answers_as.lock().expect("no panic").clone().map(|issuer| ("iss", issuer)));
    let query = serde_urlencoded::to_string(answer).expect("a query");
    HttpResponse::Found().insert_header((LOCATION, format!("{redirect}?{query}"))).finish()
}

async fn token(request: HttpRequest, body: String, books: web::Data<Books>) -> HttpResponse {
    books.codes_redeemed.fetch_add(1, Relaxed);
    let form: HashMap<String, String> = serde_urlencoded::from_str(&body).expect("a form");
    let login = STANDARD.encode(format!("{CLIENT}:a+client%27s+secret%3A+50%25+%26+more"));
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if given != format!("Basic {login}") {
        return HttpResponse::Unauthorized().json(json!({"error": "invalid_client"}));
    }
    assert!(!body.contains("client_secret"), "it is in the header");
    let refused = || HttpResponse::BadRequest().json(json!({"error": "invalid_grant"}));
    let mut codes = books.codes.lock().expect("no panic");
    let Some(asked) = codes.get_mut(&form["code"]) else { return refused() };
    let verified = URL_SAFE_NO_PAD
        .encode(ring::digest::digest(&ring::digest::SHA256, form["code_verifier"].as_bytes()))
        == asked.challenge;
    let is_new = books.used.lock().expect("no panic").insert(form["code"].clone());
    if !verified || !is_new || form["redirect_uri"] != asked.redirect || form["grant_type"] != "authorization_code" {
        return refused();
    }
    let now = chrono::Utc::now().timestamp();
    let mut claims = books.person.lock().expect("no panic").clone();
    let more = json!({
        "iss": *books.issuer.lock().expect("no panic"), "aud": CLIENT, "nonce": asked.nonce,
        "iat": now, "exp": now + 300
    });
    claims.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let signer = books.signer.lock().expect("no panic");
    let mut header = json!({"alg": "ES256", "typ": "JWT", "kid": signer.0});
    books.twist.lock().expect("no panic")(&mut header, &mut claims);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = match header["alg"].as_str() {
        Some("none") => Vec::new(),
        // What a checker that is led by the token would take: the public key as the secret.
        Some("HS256") => {
            let public = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, signer.1.public_key().as_ref());
            ring::hmac::sign(&public, signed.as_bytes()).as_ref().to_vec()
        }
        _ => signer.1.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed").as_ref().to_vec(),
    };
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    HttpResponse::Ok().json(json!({"access_token": "unused", "token_type": "Bearer", "id_token": token}))
}

async fn keys(books: web::Data<Books>) -> HttpResponse {
    books.keys_read.fetch_add(1, Relaxed);
    HttpResponse::Ok().json(json!({"keys": *books.published.lock().expect("no panic")}))
}
