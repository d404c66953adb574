//! Whom Rollcall believes as a client of an external broker over TLS: the signers in `mqtt.ca_file`, or those this
//! system believes. Fed by the settings; feeds the clients' options. Names are checked as in a browser: the host of
//! mqtt.broker has to be in the broker's certificate.

use anyhow::{Context, ensure};
use rustls::{ClientConfig, RootCertStore, version};

use crate::gate::certificate::{certificates, provider};
use crate::settings::Mqtt;

/// Our side of TLS.
///
/// # Errors
/// One sentence when nobody is left whom we could believe.
pub fn client(settings: &Mqtt) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(file) => {
            for certificate in certificates(file).context("mqtt.ca_file")? {
                let unusable = || format!("mqtt.ca_file: a certificate in {} cannot be used", file.display());
                roots.add(certificate).with_context(unusable)?;
            }
        }
        None => {
            // One strange file among hundreds of a system's is no reason to believe nobody.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            let hint = "no certificate authority is installed on this system, so no broker can be believed; install \
                        ca-certificates, or set mqtt.ca_file";
            ensure!(!roots.is_empty(), hint);
        }
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("invariant: ring knows TLS 1.2 and 1.3");
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
