//! Where the external broker is and who we are there, read from the settings; no password leaves this file in the
//! clear. Fed by the settings; feeds the subscriber and the publisher with their clients' options.

use anyhow::{Context, ensure};
use rumqttc::Transport;
use rumqttc::v5::MqttOptions;

use super::Tuning;
use crate::gate::trust;
use crate::settings::{Mqtt, Secret};

/// Port of MQTT without TLS, and with it.
const PORTS: (u16, u16) = (1883, 8883);

/// A broker's URL, taken apart.
#[derive(Clone)]
pub struct Address {
    host: String,
    port: u16,
    tls: bool,
    login: Option<(String, String)>,
}

impl Address {
    /// Reads `mqtt://[user[:password]@]host[:port]`, or `mqtts://` for TLS; user and password may be percent-encoded.
    ///
    /// # Errors
    /// A sentence that says what is wrong, without the password.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let shown = Secret::from(url).shown();
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        ensure!(
            matches!(scheme, "mqtt" | "mqtts"),
            "mqtt.broker = {shown} must begin with mqtt://, or with mqtts:// for TLS"
        );
        let tls = scheme == "mqtts";
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().with_context(|| format!("mqtt.broker = {shown} has no valid port"))?)
            }
            _ => (place, if tls { PORTS.1 } else { PORTS.0 }),
        };
        ensure!(!host.is_empty() && !host.contains(['/', '?']), "mqtt.broker = {shown} names no host");
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            (decoded(user), decoded(password))
        });
        Ok(Self { host: host.to_owned(), port, tls, login })
    }

    /// Host and port, to connect to.
    pub fn endpoint(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Host and port, for people.
    pub fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The subscriber's options.
    ///
    /// # Errors
    /// A sentence when the client id cannot be.
    pub(super) fn options(&self, settings: &Mqtt, tuning: &Tuning) -> anyhow::Result<MqttOptions> {
        let id = &settings.client_id;
        ensure!(
            !id.is_empty() && !id.starts_with(' '),
            "mqtt.client_id = '{id}' must not be empty or begin with a space"
        );
        let mut options = self.client(settings, id.clone())?;
        options.set_clean_start(false).set_manual_acks(true).set_keep_alive(tuning.keep_alive);
        options.set_session_expiry_interval(Some(u32::try_from(settings.session_expiry.0 / 1_000).unwrap_or(u32::MAX)));
        options.set_receive_maximum(Some(super::RECEIVE_MAXIMUM)).set_max_packet_size(Some(settings.packet_bytes_max));
        // It sends acknowledgements, four bytes each and each written by itself: the system may gather them until the
        // broker has taken those before. What the broker sends meanwhile says so at once.
        let mut network = options.network_options();
        network.set_tcp_nodelay(false);
        options.set_network_options(network);
        Ok(options)
    }

    /// What every client of ours has; user name and password of the settings win over those in the URL.
    ///
    /// # Errors
    /// A sentence when TLS is wanted and nobody can be believed.
    pub(in crate::ingest) fn client(&self, settings: &Mqtt, id: String) -> anyhow::Result<MqttOptions> {
        let mut options = MqttOptions::new(id, &self.host, self.port);
        if self.tls {
            options.set_transport(Transport::tls_with_config(
                trust::client(settings.ca_file.as_deref(), "mqtt.ca_file")?.into(),
            ));
        }
        options.set_keep_alive(super::KEEP_ALIVE);
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let given = settings.username.clone().map(|user| (user, settings.password.expose().to_owned()));
        if let Some((user, password)) = given.or_else(|| self.login.clone()) {
            options.set_credentials(user, password);
        }
        Ok(options)
    }
}

/// Undoes percent-encoding; what is no valid code stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%').then(|| after.get(..2)).flatten().and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => (bytes.push(byte), rest = &after[2..]).0,
            None => (bytes.push(first), rest = after).0,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let place = |url: &str| Address::parse(url).map(|address| address.place()).map_err(|error| error.to_string());
        assert_eq!(place("mqtt://broker"), Ok("broker:1883".into()));
        assert_eq!(place("mqtt://10.0.0.1:2883/"), Ok("10.0.0.1:2883".into()));
        assert_eq!(place("mqtt://[::1]"), Ok("[::1]:1883".into()));
        assert_eq!(place("mqtt://u:p@[::1]:99"), Ok("[::1]:99".into()));
        for bad in ["", "broker", "http://x", "mqtt://", "mqtt://:1", "mqtt://x:y", "mqtt://x/path", "mqtts://"] {
            assert!(place(bad).is_err(), "{bad}");
        }
        assert_eq!(place("mqtts://broker"), Ok("broker:8883".into()));
        assert_eq!(place("mqtts://broker:1"), Ok("broker:1".into()));
        let login = Address::parse("mqtt://me%40home:p%3Aw%zz@x").expect("parses").login;
        assert_eq!(login, Some(("me@home".into(), "p:w%zz".into())));
    }

    #[test]
    fn a_password_is_never_shown() {
        for url in
            ["mqtt://me:hunter2@host:x", "mqtts://me:hunter2@host:x", "http://me:hunter2@host", "mqtt://me:hun@ter2@:1"]
        {
            let error = format!("{:?}", Address::parse(url).err().expect("is wrong"));
            assert!(!error.contains("ter2") && error.contains("me:***@"), "{error}");
        }
    }
}
