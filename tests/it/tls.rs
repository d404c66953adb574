//! TLS from outside: HTTPS and MQTT over TLS at our own listeners, an external broker behind TLS, certificates that are
//! renewed while everything runs, and what is said when a file is wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::mosquitto::{self, Mosquitto};
use crate::support::{Service, rollcall, until};

/// A certificate for this machine, signed by itself, in files.
pub struct Pair {
    folder: TempDir,
}

impl Pair {
    /// A new one.
    pub fn new() -> Self {
        let pair = Self { folder: tempfile::tempdir().expect("folder") };
        pair.renew();
        pair
    }

    /// Puts another in its place.
    pub fn renew(&self) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        std::fs::write(self.cert(), made.cert.pem()).expect("written");
        std::fs::write(self.key(), made.signing_key.serialize_pem()).expect("written");
    }

    /// The certificate, which is also whom to believe.
    pub fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Its private key.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// As a server's side of TLS.
    pub fn server(&self) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
        let certificate = CertificateDer::from_pem_file(self.cert()).expect("PEM");
        let key = PrivateKeyDer::from_pem_file(self.key()).expect("PEM");
        config.with_no_client_auth().with_single_cert(vec![certificate], key).expect("a pair")
    }

    /// As settings of a service; its broker listens for TLS too.
    pub fn settings(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.display().to_string();
        [
            ("ROLLCALL__TLS__CERT_FILE", text(self.cert())),
            ("ROLLCALL__TLS__KEY_FILE", text(self.key())),
            ("ROLLCALL__MQTT__TLS_LISTEN", "127.0.0.1:0".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// A service with this certificate and further settings.
pub fn service(pair: &Pair, more: &[(&str, &str)]) -> Service {
    let settings = pair.settings();
    let mut all: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.extend(more);
    Service::with_settings(&all)
}

/// A GET over TLS, believing one certificate: the whole answer as text.
async fn https(place: &str, path: &str, believed: &Path) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(believed).expect("PEM")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(place).await.expect("connects");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let mut stream = stream.map_err(|error| error.to_string())?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn https_is_spoken_with_the_certificate_and_browsers_are_told_to_insist() {
    let pair = Pair::new();
    let service = service(&pair, &[]);
    let answer = https(&service.http, "/healthz", &pair.cert()).await.expect("believed");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.to_lowercase().contains("strict-transport-security: max-age="), "{answer}");
    let stranger = https(&service.http, "/healthz", &Pair::new().cert()).await.expect_err("not believed");
    assert!(stranger.contains("certificate"), "{stranger}");
    let asked = |place: &str| rollcall(&["healthcheck", place]).output().expect("runs").status.success();
    assert!(asked(&service.http) && asked(&format!("https://{}", service.http)));
    assert!(!asked(&format!("http://{}", service.http)));
    // Plain HTTP there is no HTTP at all; and a plain service tells nobody to insist on TLS.
    assert!(reqwest::get(service.url("/healthz")).await.is_err());
    let plain = Service::with_settings(&[]);
    assert_eq!(plain.send("GET", "/healthz", "", "").await.header("strict-transport-security"), "");
}

/// The alert that answers a ClientHello of this minor version: one cipher, one kind of signature.
async fn alert(place: &str, minor: u8) -> u8 {
    let extensions = [0, 8, 0, 13, 0, 4, 0, 2, 4, 3];
    let body = [&[3, minor][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0], &extensions].concat();
    let hello = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    let record = [&[22, 3, 1, 0, hello.len() as u8][..], &hello].concat();
    let mut stream = TcpStream::connect(place).await.expect("connects");
    stream.write_all(&record).await.expect("writes");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(answer.first(), Some(&21), "an alert, not {answer:?}");
    *answer.last().expect("a code")
}

/// A ClientHello of TLS 1.1 is answered with the alert `protocol_version`.
#[tokio::test]
async fn nothing_older_than_tls_1_2_is_spoken() {
    let pair = Pair::new();
    let service = service(&pair, &[]);
    for place in [&service.http, &service.mqtts] {
        assert_eq!(alert(place, 2).await, 70, "{place}");
        // A newer one of the same kind is refused for its poor choice of ciphers only.
        assert_ne!(alert(place, 3).await, 70, "{place}");
    }
}

#[tokio::test]
async fn a_vehicle_is_heard_over_tls_at_the_embedded_broker() {
    if !mosquitto::has_client() {
        return;
    }
    let pair = Pair::new();
    let service = service(&pair, &[]);
    for (vehicle, version) in [("three", "mqttv311"), ("five", "mqttv5")] {
        let topic = format!("fleet/acme/{vehicle}/heartbeat");
        let (taken, said) = mosquitto::publish(&service.mqtts, &topic, Some(&pair.cert()), &["-V", version]).await;
        assert!(taken, "{said}");
        until("it is online", || async { service_status(&service, &pair, vehicle).await == "online" }).await;
    }
    let stranger = Pair::new();
    let (taken, _) = mosquitto::publish(&service.mqtts, "fleet/acme/x/heartbeat", Some(&stranger.cert()), &[]).await;
    assert!(!taken);
    // Beside it the plain listener goes on.
    assert!(mosquitto::publish(&service.mqtt, "fleet/acme/plain/heartbeat", None, &[]).await.0);
}

async fn service_status(service: &Service, pair: &Pair, vehicle: &str) -> String {
    let path = format!("/api/v1/customers/acme/vehicles/{vehicle}");
    let answer = https(&service.http, &path, &pair.cert()).await.expect("believed");
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let vehicle: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("JSON in {answer}"));
    vehicle["status"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_bad_one_is_not() {
    let pair = Pair::new();
    let service = service(&pair, &[]);
    let before = std::fs::read(pair.cert()).expect("read");
    let old = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(old.path(), &before).expect("written");
    std::fs::write(pair.key(), "no key at all").expect("written");
    tokio::time::sleep(std::time::Duration::from_secs(5)).await; // poll: two looks at the files, which change nothing
    assert!(https(&service.http, "/healthz", old.path()).await.is_ok());
    pair.renew();
    until("the new one is shown", || async { https(&service.http, "/healthz", &pair.cert()).await.is_ok() }).await;
    assert!(https(&service.http, "/healthz", old.path()).await.is_err());
}

#[test]
fn wrong_files_are_named_in_one_sentence_and_by_check() {
    let (one, other) = (Pair::new(), Pair::new());
    let text = |path: PathBuf| path.display().to_string();
    let run = |command: &str, cert: &str, key: &str| {
        let listen = [command, "--store", "sqlite::memory:", "--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0"];
        let mut process = rollcall(&listen);
        process.envs([("ROLLCALL__TLS__CERT_FILE", cert), ("ROLLCALL__TLS__KEY_FILE", key)]);
        let output = process.output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for command in ["serve", "check"] {
        let (code, said) = run(command, &text(one.cert()), &text(other.key()));
        assert!(code == Some(1) && said.contains("does not belong to the certificate"), "{command}: {said}");
        let (code, said) = run(command, "/no/cert.pem", &text(one.key()));
        assert!(code == Some(1) && said.contains("/no/cert.pem (tls.cert_file)"), "{command}: {said}");
    }
    let output = rollcall(&["check"]).env("ROLLCALL__TLS__CERT_FILE", text(one.cert())).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tls.key_file is not"));
}

/// Subscriber, canary and status publisher speak to a Mosquitto that only speaks TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_broker_behind_tls_is_listened_to() {
    let pair = Pair::new();
    let files = format!("certfile {}\nkeyfile {}", pair.cert().display(), pair.key().display());
    let Some(broker) = Mosquitto::start(&format!("allow_anonymous true\n{files}")).await else { return };
    let url = format!("mqtts://localhost:{}", broker.port);
    let start = |ca: PathBuf| {
        let listen = ["serve", "--http", "127.0.0.1:0", "--store", "sqlite::memory:", "--broker", &url];
        let mut command = rollcall(&listen);
        command.env("ROLLCALL__MQTT__CA_FILE", ca).env("ROLLCALL__MQTT__PUBLISH_STATUS", "true");
        Service::spawn(&mut command)
    };
    let service = start(pair.cert());
    assert!(service.mqtt.starts_with("mqtts://"), "{}", service.mqtt);
    until("it listens", || async { service.get("/api/v1/status").await["listening"] == true }).await;
    let place = format!("localhost:{}", broker.port);
    let (taken, said) = mosquitto::publish(&place, "fleet/acme/far/heartbeat", Some(&pair.cert()), &[]).await;
    assert!(taken, "{said}");
    until("it is heard", || async { service.status_of("acme", "far").await.as_deref() == Some("online") }).await;
    until("its status is published", || async {
        service.send("GET", "/metrics", "", "").await.text.contains("rollcall_statuses_published_total 1")
    })
    .await;
    // Whoever has another certificate is not believed, and it is said why.
    let doubting = start(Pair::new().cert());
    until("it says why", || async {
        let ready = doubting.answer("/readyz").await;
        ready.0 == 503 && ready.1.to_string().to_lowercase().contains("certificate")
    })
    .await;
}
