//! `rollcall healthcheck`: asks a running service whether its process answers, over HTTP or HTTPS; for containers
//! without curl. Called by main.rs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::gate::certificate::provider;
use crate::gate::trust;

/// A process that needs longer is not well.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Succeeds when `GET /healthz` answers 200. An address without `http://` or `https://` is asked in both ways: whether
/// the service has a certificate is its own setting, not that of whoever asks.
///
/// # Errors
/// What the service answered instead, or that it did not.
pub fn ask(address: &str) -> anyhow::Result<()> {
    match address.split_once("://") {
        Some(("http", place)) => plain(place),
        Some(("https", place)) => over_tls(place),
        Some((scheme, _)) => bail!("'{scheme}' is neither http nor https"),
        None => plain(address).or_else(|error| over_tls(address).map_err(|_| error)),
    }
}

fn plain(place: &str) -> anyhow::Result<()> {
    question(connect(place)?, place)
}

/// The certificate is of the host that browsers ask for, and we ask this machine: so it is not held against the name.
/// Nothing secret is said.
fn over_tls(place: &str) -> anyhow::Result<()> {
    let anybody = Arc::new(Anybody(provider()));
    let config = trust::builder().dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth();
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host).trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).with_context(|| format!("'{place}' is no address"))?;
    question(StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, connect(place)?), place)
}

fn connect(place: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(place).with_context(|| format!("nothing answers at {place}"))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    Ok(stream)
}

fn question(mut stream: impl Read + Write, place: &str) -> anyhow::Result<()> {
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).context("the service closed without an answer")?;
    let head = String::from_utf8_lossy(&head);
    anyhow::ensure!(head.ends_with(" 200"), "the service answered {head}");
    Ok(())
}

/// Believes every certificate whose key is there.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
