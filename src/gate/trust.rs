//! Whom Rollcall believes as a client over TLS: the signers in a file of the settings, or those this system
//! believes. Asked by the subscriber about an external broker (ingest), and about the identity provider (access).
//! Names are checked as in a browser: the host that is asked for has to be in the certificate.

use std::path::Path;

use anyhow::{Context, ensure};
use rustls::{ClientConfig, RootCertStore, version};

use super::certificate::{certificates, provider};

/// Our side of TLS; `setting` names `ca_file` in what is said about it.
///
/// # Errors
/// One sentence when nobody is left whom we could believe.
pub fn client(ca_file: Option<&Path>, setting: &str) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            for certificate in certificates(file).with_context(|| setting.to_owned())? {
                let unusable = || format!("{setting}: a certificate in {} cannot be used", file.display());
                roots.add(certificate).with_context(unusable)?;
            }
        }
        None => {
            // One strange file among hundreds of a system's is no reason to believe nobody.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            ensure!(
                !roots.is_empty(),
                "no certificate authority is installed on this system, so nobody can be believed; install \
                 ca-certificates, or set {setting}"
            );
        }
    }
    Ok(builder().with_root_certificates(roots).with_no_client_auth())
}

/// What all our clients of TLS have in common.
pub fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("invariant: ring knows TLS 1.2 and 1.3")
}
