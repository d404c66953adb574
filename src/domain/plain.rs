//! The usual heartbeat, read in one pass: a flat object of known fields, each once, without spaces, its numbers short
//! and its text plain. Anything else is left to the general reader, which knows all of JSON and says what is wrong;
//! what both can read they read alike. Used by heartbeat.rs, whose checks follow.

use std::borrow::Cow;

use super::heartbeat::{DeviceTime, Payload};

/// Digits of a number that is read here. Below 2^53 a whole number is exact, and so is one division by a power of ten
/// that is exact itself: the nearest number there is, as the general reader finds it.
const DIGITS_MAX: usize = 15;
/// Powers of ten for as many decimals.
const TENS: [f64; DIGITS_MAX + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The fields of a usual heartbeat; nothing when it is written in any other way.
pub(super) fn read(bytes: &[u8]) -> Option<Payload<'_>> {
    let (mut rest, mut payload) = (Rest(bytes), Payload::default());
    rest.take(b'{')?;
    loop {
        let name = rest.text()?;
        rest.take(b':')?;
        match name {
            b"ts" => once(&mut payload.ts, DeviceTime::Millis(rest.number()?))?,
            b"seq" => once(&mut payload.seq, rest.whole()?)?,
            b"boot" => once(&mut payload.boot, Cow::Borrowed(std::str::from_utf8(rest.text()?).ok()?))?,
            b"lat" => once(&mut payload.lat, rest.number()?)?,
            b"lon" => once(&mut payload.lon, rest.number()?)?,
            b"speed_kmh" => once(&mut payload.speed_kmh, rest.number()?)?,
            b"heading_deg" => once(&mut payload.heading_deg, rest.number()?)?,
            b"battery_pct" => once(&mut payload.battery_pct, rest.number()?)?,
            b"odometer_km" => once(&mut payload.odometer_km, rest.number()?)?,
            b"ignition" => once(&mut payload.ignition, rest.truth()?)?,
            b"next_in_s" => once(&mut payload.next_in_s, rest.number()?)?,
            _ => return None,
        }
        if rest.take(b'}').is_some() {
            return rest.0.is_empty().then_some(payload);
        }
        rest.take(b',')?;
    }
}

/// A field that comes twice is a fault.
fn once<T>(field: &mut Option<T>, value: T) -> Option<()> {
    let first = field.is_none();
    *field = Some(value);
    first.then_some(())
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, byte: u8) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        (*first == byte).then(|| self.0 = rest)
    }

    /// Plain ASCII between quotes.
    fn text(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let end = self.0.iter().position(|byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\'))?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest;
        self.take(b'"')?;
        Some(text)
    }

    fn truth(&mut self) -> Option<bool> {
        let (value, word) = if self.0.first()? == &b't' { (true, &b"true"[..]) } else { (false, &b"false"[..]) };
        self.0 = self.0.strip_prefix(word)?;
        Some(value)
    }

    fn whole(&mut self) -> Option<u64> {
        self.integer().map(|(value, _)| value)
    }

    fn number(&mut self) -> Option<f64> {
        let negative = self.take(b'-').is_some();
        let (whole, digits) = self.integer()?;
        let (value, decimals) = match self.take(b'.') {
            None => (whole, 0),
            Some(()) => Some(self.digits(whole)).filter(|(_, decimals)| *decimals > 0)?,
        };
        let value = value as f64 / TENS.get(decimals).filter(|_| digits + decimals <= DIGITS_MAX)?;
        Some(if negative { -value } else { value })
    }

    /// A whole number without a needless zero, and how many digits it has.
    fn integer(&mut self) -> Option<(u64, usize)> {
        let zero_first = self.0.first() == Some(&b'0');
        let (value, count) = self.digits(0);
        ((1..=DIGITS_MAX).contains(&count) && !(zero_first && count > 1)).then_some((value, count))
    }

    /// Appends digits to `value` and counts them; past what anybody accepts it may wrap.
    fn digits(&mut self, mut value: u64) -> (u64, usize) {
        let before = self.0.len();
        while let Some((digit @ b'0'..=b'9', rest)) = self.0.split_first() {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.0 = rest;
        }
        (value, before - self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USUAL: &str = concat!(
        r#"{"ts":1769847300123,"seq":1000000,"boot":"b 1","lat":53.40841,"lon":-2.99161,"speed_kmh":48.5,"#,
        r#""heading_deg":0,"battery_pct":81,"odometer_km":120345.6,"ignition":true,"next_in_s":600}"#
    );
    const OFTEN_WRONG: &[u8] = b"{}\\\",:.-+eE0123456789";

    /// Whatever is read here, the general reader reads, and alike.
    fn assert_alike(text: &[u8]) {
        if let Some(read) = read(text) {
            let general: Payload<'_> = serde_json::from_slice(text).expect("is JSON, with these fields");
            assert_eq!(read.check(), general.check(), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn the_usual_heartbeat_is_read_here() {
        for text in [USUAL, r#"{"ts":1769847300123,"lat":-0.00001,"lon":180}"#, r#"{"ignition":false}"#] {
            assert!(read(text.as_bytes()).is_some(), "{text}");
            assert_alike(text.as_bytes());
        }
    }

    #[test]
    fn anything_else_is_left_to_the_general_reader() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"seq":1,"seq":1}"#,
            r#"{"seq":01}"#,
            r#"{"seq":1.0}"#,
            r#"{"seq":-1}"#,
            r#"{"lat":1.}"#,
            r#"{"lat":.1}"#,
            r#"{"lat":-}"#,
            r#"{"lat":1e1}"#,
            r#"{"lat":1.234567890123456}"#,
            r#"{"lat":null}"#,
            r#"{"ts":"2026-01-31T08:15:00.123Z"}"#,
            r#"{"boot":"b\u0031"}"#,
            r#"{"boot":"é"}"#,
            r#"{"metrics":{}}"#,
            r#"{"other":1}"#,
            r#"{"ignition":truely}"#,
            r#"{"seq": 1}"#,
            r#"{"seq":1} "#,
            r#"{"seq":1,}"#,
            r#"{"seq":1"#,
        ] {
            assert!(read(text.as_bytes()).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_byte_that_is_another_one_makes_no_difference_between_the_readers(
            place in 0..USUAL.len(),
            byte in prop_oneof![any::<u8>(), proptest::sample::select(OFTEN_WRONG)],
        ) {
            let mut text = USUAL.as_bytes().to_vec();
            text[place] = byte;
            assert_alike(&text);
            text.remove(place);
            assert_alike(&text);
        }

        #[test]
        fn numbers_are_the_same_in_both(
            name in proptest::sample::select(&["ts", "lat", "lon", "odometer_km", "seq", "next_in_s"][..]),
            number in "-?(0|[1-9][0-9]{0,16})(\\.[0-9]{0,16})?(e[0-9])?",
        ) {
            assert_alike(format!(r#"{{"{name}":{number}}}"#).as_bytes());
        }
    }
}
