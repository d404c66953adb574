//! The certificate that Rollcall's listeners show, and the key to it: read from two PEM files, and read again when they
//! change, so that a renewed certificate needs no restart. A pair that cannot be used leaves the one before in place.
//! Fed by `[tls]` of the settings; asked by rustls at each handshake of HTTPS (app) and of MQTT over TLS (ingest).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use parking_lot::RwLock;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};

/// How often the two files are read again: some kilobytes. Their content is compared, not their dates, for a secret
/// mounted into a container changes by a link being turned round.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The present certificate.
#[derive(Debug)]
pub struct Certificate {
    cert_file: PathBuf,
    key_file: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

/// What the files held.
type Pair = (Vec<u8>, Vec<u8>);

impl Certificate {
    /// Reads the pair, and goes on looking after it until [`Certificate`] is dropped.
    ///
    /// # Errors
    /// One sentence naming the file that is missing or wrong, or both when they do not belong together.
    pub fn watch(cert_file: &Path, key_file: &Path) -> anyhow::Result<Arc<Self>> {
        let pair = read(cert_file, key_file)?;
        let current = RwLock::new(Arc::new(understand(&pair, cert_file, key_file)?));
        let certificate = Arc::new(Self { cert_file: cert_file.to_owned(), key_file: key_file.to_owned(), current });
        let watched = Arc::downgrade(&certificate);
        tokio::spawn(async move {
            let (mut seen, mut told) = (pair, String::new());
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let Some(certificate) = watched.upgrade() else { return };
                match certificate.look(&mut seen) {
                    Ok(()) => told.clear(),
                    Err(error) => {
                        // Said once, not every two seconds.
                        let cause = format!("{error:#}");
                        if cause != told {
                            tracing::warn!(cause, "the new certificate cannot be used; the one before stays");
                            told = cause;
                        }
                    }
                }
            }
        });
        Ok(certificate)
    }

    /// Whether a certificate could be shown with these files: what `check` asks.
    ///
    /// # Errors
    /// As [`Certificate::watch`].
    pub fn probe(cert_file: &Path, key_file: &Path) -> anyhow::Result<()> {
        understand(&read(cert_file, key_file)?, cert_file, key_file).map(drop)
    }

    /// A listener's side of TLS 1.2 and 1.3 with this certificate; `protocol` is what it speaks inside.
    pub fn server(self: &Arc<Self>, protocol: &[u8]) -> ServerConfig {
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .expect("invariant: ring knows TLS 1.2 and 1.3");
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::clone(self) as _);
        config.alpn_protocols = vec![protocol.to_vec()];
        config
    }

    /// Takes a pair that has changed. A file is written before the other, so that for a moment they do not fit: then
    /// this is an error, and right the next time.
    fn look(&self, seen: &mut Pair) -> anyhow::Result<()> {
        let pair = read(&self.cert_file, &self.key_file)?;
        if pair == *seen {
            return Ok(());
        }
        let key = understand(&pair, &self.cert_file, &self.key_file)?;
        *self.current.write() = Arc::new(key);
        *seen = pair;
        tracing::info!(file = %self.cert_file.display(), "a new certificate is shown from now on");
        Ok(())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read()))
    }
}

/// The one implementation of TLS's mathematics in this program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates in a PEM file.
///
/// # Errors
/// One sentence naming the file.
pub fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = std::fs::read(file).with_context(|| format!("cannot read the certificate {}", file.display()))?;
    chain(&pem, file)
}

fn read(cert_file: &Path, key_file: &Path) -> anyhow::Result<Pair> {
    let cert = std::fs::read(cert_file);
    let cert = cert.with_context(|| format!("cannot read the certificate {} (tls.cert_file)", cert_file.display()))?;
    let key = std::fs::read(key_file);
    let key = key.with_context(|| format!("cannot read the private key {} (tls.key_file)", key_file.display()))?;
    Ok((cert, key))
}

fn chain(pem: &[u8], file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.with_context(|| format!("{} is not in PEM form", file.display()))?;
    ensure!(!chain.is_empty(), "{} holds no certificate in PEM form", file.display());
    Ok(chain)
}

fn understand(pair: &Pair, cert_file: &Path, key_file: &Path) -> anyhow::Result<CertifiedKey> {
    let chain = chain(&pair.0, cert_file)?;
    // What is wrong inside a key is nobody's business but its owner's: the error says which file, and nothing of it.
    let Ok(key) = PrivateKeyDer::from_pem_slice(&pair.1) else {
        bail!("{} holds no private key in PEM form without a password", key_file.display());
    };
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => anyhow::anyhow!(
            "the private key {} does not belong to the certificate {}",
            key_file.display(),
            cert_file.display()
        ),
        other => anyhow::anyhow!("{} and {} cannot be used: {other}", cert_file.display(), key_file.display()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Pair {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes())
    }

    fn write(folder: &Path, pair: &Pair) -> (PathBuf, PathBuf) {
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert, &pair.0).expect("written");
        std::fs::write(&key, &pair.1).expect("written");
        (cert, key)
    }

    #[tokio::test]
    async fn a_bad_new_pair_leaves_the_one_before_and_a_good_one_is_taken() {
        let folder = tempfile::tempdir().expect("folder");
        let first = pair();
        let (cert, key) = write(folder.path(), &first);
        let certificate = Certificate::watch(&cert, &key).expect("reads");
        let shown = || certificate.current.read().cert[0].to_vec();
        let (mut seen, before) = (first, shown());
        let next = pair();
        std::fs::write(&cert, &next.0).expect("written");
        let error = certificate.look(&mut seen).expect_err("half of it").to_string();
        assert!(error.contains("does not belong to"), "{error}");
        std::fs::write(&cert, "nonsense").expect("written");
        assert!(certificate.look(&mut seen).expect_err("no PEM").to_string().contains("holds no certificate"));
        std::fs::remove_file(&cert).expect("removed");
        assert!(format!("{:#}", certificate.look(&mut seen).expect_err("missing")).contains("cert.pem"));
        assert_eq!(shown(), before);
        write(folder.path(), &next);
        certificate.look(&mut seen).expect("a good pair");
        assert_ne!(shown(), before);
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said_without_their_content() {
        let folder = tempfile::tempdir().expect("folder");
        let good = pair();
        let fault = |pair: &Pair| {
            let (cert, key) = write(folder.path(), pair);
            format!("{:#}", Certificate::probe(&cert, &key).expect_err("refused"))
        };
        assert!(
            fault(&(good.0.clone(), b"secret".to_vec())).ends_with("no private key in PEM form without a password")
        );
        assert!(fault(&(good.0.clone(), good.0.clone())).contains("key.pem holds no private key"));
        assert!(fault(&(good.1.clone(), good.1.clone())).contains("cert.pem holds no certificate"));
        assert!(fault(&(good.0.clone(), pair().1)).contains("does not belong to"));
        let missing = Certificate::probe(Path::new("/no/such.pem"), Path::new("/no/key.pem")).expect_err("missing");
        assert!(format!("{missing:#}").contains("/no/such.pem (tls.cert_file)"));
    }
}
