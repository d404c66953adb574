//! Settings of the doors that HTTP comes through, and of the certificate that all listeners show.
//! Read by settings.rs; used by app, api and ingest.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Span;
use super::values::list_of;

/// The HTTP door.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Http {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Serve the dashboard from this folder instead of the binary, for editing it.
    pub web_dir: Option<PathBuf>,
    /// Most connections at once.
    pub connections_max: usize,
    /// Most of them from one address.
    pub connections_per_address_max: usize,
    /// How long the head of a request may take.
    pub header_timeout: Span,
    /// How long we wait for the body of a request, beside what its size takes.
    pub body_timeout: Span,
    /// Requests a second of one address; 0 is no limit.
    pub requests_per_s_max: u32,
    /// Requests at once of one address after a pause; 0 is no limit.
    pub requests_burst: u32,
    /// Requests a second with one key, from wherever; 0 is no limit.
    pub key_requests_per_s_max: u32,
    /// Requests at once with one key after a pause; 0 is no limit.
    pub key_requests_burst: u32,
    /// Other origins (`https://host[:port]`) whose pages may use the API.
    #[serde(deserialize_with = "list_of")]
    pub allowed_origins: Vec<Origin>,
    /// Proxies whose word counts for who is calling.
    #[serde(deserialize_with = "list_of")]
    pub trusted_proxies: Vec<Network>,
    /// Largest file of `POST /vehicles/import`, in bytes.
    pub import_bytes_max: u64,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            web_dir: None,
            connections_max: 20_000,
            connections_per_address_max: 20_000,
            header_timeout: Span(5_000),
            body_timeout: Span(10_000),
            requests_per_s_max: 100,
            requests_burst: 2_000,
            key_requests_per_s_max: 500,
            key_requests_burst: 10_000,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            import_bytes_max: 256 << 20,
        }
    }
}

/// The certificate of our own listeners.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// The certificate and those between it and its root, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM without a password.
    pub key_file: Option<PathBuf>,
    /// With a certificate, `http.listen` speaks HTTPS; false: it stays plain, behind a proxy on this host.
    pub https: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self { cert_file: None, key_file: None, https: true }
    }
}

impl Tls {
    /// Both files, when there is a certificate.
    pub fn files(&self) -> Option<(&PathBuf, &PathBuf)> {
        self.cert_file.as_ref().zip(self.key_file.as_ref())
    }
}

/// Where a page comes from, as browsers write it in `Origin`: scheme, host and, unless it is the usual one, port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// As browsers write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no origin; write it like https://fleet.example.org, without a path");
        let lower = text.trim().to_ascii_lowercase();
        let (scheme, host) = lower.split_once("://").ok_or_else(wrong)?;
        let usual = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => return Err(wrong()),
        };
        let host = host.strip_suffix(usual).unwrap_or(host);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if host.is_empty() || !host.chars().all(plain) {
            return Err(wrong());
        }
        Ok(Self(format!("{scheme}://{host}")))
    }
}

/// An address, or all that begin alike: `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    /// Leading bits that count, of 32 or 128.
    bits: u8,
}

impl Network {
    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                (base.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                (base.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no address and no network; write it like 10.0.0.7 or 10.0.0.0/8");
        let (address, bits) = text.trim().split_once('/').map_or((text.trim(), None), |(a, b)| (a, Some(b)));
        let base: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse::<u8>().map_err(|_| wrong()))?;
        if bits > most {
            return Err(wrong());
        }
        Ok(Self { base, bits })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.base, self.bits)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        let holds = |network: &str, address: &str| {
            network.parse::<Network>().expect(network).contains(address.parse().expect(address))
        };
        assert!(holds("10.0.0.7", "10.0.0.7") && !holds("10.0.0.7", "10.0.0.8"));
        assert!(holds("10.0.0.0/8", "10.9.9.9") && !holds("10.0.0.0/8", "11.0.0.0"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("fd00::/8", "fdff::1") && !holds("fd00::/8", "fe00::1") && holds("::/0", "fe00::1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.1.1"));
        for bad in ["", "10.0.0.0/33", "host", "10.0.0.0/", "::/129", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        let read = |text: &str| text.parse::<Origin>().map(|origin| origin.0);
        assert_eq!(read("https://Fleet.example.org:443"), Ok("https://fleet.example.org".into()));
        assert_eq!(read("http://127.0.0.1:3000"), Ok("http://127.0.0.1:3000".into()));
        for bad in ["", "*", "https://", "fleet.example.org", "https://a/b", "ftp://a", "null"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
