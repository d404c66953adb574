//! What an operator may write about a vehicle or a customer: which fields there are, what each may hold, and what a
//! change of some of them makes of what was there. Fed by REST and imports; asked by the stores, which apply it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::policy::{TIMEOUT_LEAST, TIMEOUT_MAX};
use super::row::Registered;
use super::tags::Tags;
use super::time::Millis;

/// The fields of a vehicle that can be written, in the order of an export.
pub const FIELDS: [&str; 5] = ["name", "registration", "vin", "tags", "offline_after_ms"];
/// The fields of a customer that can be written.
pub const CUSTOMER_FIELDS: [&str; 2] = ["name", "offline_after_ms"];
/// What Rollcall works out for itself and shows beside them.
const DERIVED: [&str; 12] = [
    "status",
    "status_since",
    "seq",
    "last_seen",
    "position",
    "battery_pct",
    "odometer_km",
    "ignition",
    "metrics",
    "policy_source",
    "clock_skew_ms",
    "counts",
];

/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 200;
/// Longest registration, VIN and tag, in bytes. A VIN has 17, but trailers and old vehicles have other numbers.
pub const TEXT_BYTES_MAX: usize = 64;
/// Most tags of one vehicle.
pub const TAGS_MAX: usize = 32;

/// What becomes of one field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Edit<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It becomes this.
    Set(T),
}

impl<T: PartialEq + Clone> Edit<T> {
    fn apply(&self, to: &mut T) {
        if let Self::Set(value) = self {
            to.clone_from(value);
        }
    }
}

impl<T: Default> Edit<T> {
    fn or_removed(self) -> Self {
        match self {
            Self::Keep => Self::Set(T::default()),
            set @ Self::Set(_) => set,
        }
    }
}

/// What becomes of the fields of a vehicle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Edits {
    name: Edit<Option<Box<str>>>,
    registration: Edit<Option<Box<str>>>,
    vin: Edit<Option<Box<str>>>,
    tags: Edit<Tags>,
    offline_after: Edit<Option<Millis>>,
}

/// A field, and what is wrong with it.
pub type Fault = (String, String);

impl Edits {
    /// Reads the fields of an object; one that is not there stays as it is, `null` removes it.
    ///
    /// # Errors
    /// Every field that is unknown, not the operator's to write, or holds what it may not.
    pub fn read(fields: &Map<String, Value>) -> Result<Self, Vec<Fault>> {
        let mut edits = Self::default();
        let outcomes = fields.iter().map(|(field, value)| (field, edits.set(field, value)));
        let faults = outcomes.filter_map(|(field, outcome)| Some((field.clone(), outcome.err()?)));
        let faults: Vec<Fault> = faults.collect();
        if faults.is_empty() { Ok(edits) } else { Err(faults) }
    }

    /// One field becomes this value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn set(&mut self, field: &str, value: &Value) -> Result<(), String> {
        match field {
            "name" => self.name = Edit::Set(text(value, NAME_BYTES_MAX)?),
            "registration" => self.registration = Edit::Set(text(value, TEXT_BYTES_MAX)?),
            "vin" => self.vin = Edit::Set(text(value, TEXT_BYTES_MAX)?),
            "tags" => self.tags = Edit::Set(tags(value)?),
            "offline_after_ms" => self.offline_after = Edit::Set(timeout(value)?),
            _ => return Err(not_ours(field, &FIELDS)),
        }
        Ok(())
    }

    /// The same, but fields that it keeps are removed: then it says all there is.
    #[must_use]
    pub fn whole(self) -> Self {
        Self {
            name: self.name.or_removed(),
            registration: self.registration.or_removed(),
            vin: self.vin.or_removed(),
            tags: self.tags.or_removed(),
            offline_after: self.offline_after.or_removed(),
        }
    }

    /// What makes another vehicle's fields the same as these.
    pub fn copy_of(registered: &Registered, offline_after: Option<Millis>) -> Self {
        Self {
            name: Edit::Set(registered.name.clone()),
            registration: Edit::Set(registered.registration.clone()),
            vin: Edit::Set(registered.vin.clone()),
            tags: Edit::Set(registered.tags.clone()),
            offline_after: Edit::Set(offline_after),
        }
    }

    /// Changes what was there; the revision is the caller's to count.
    pub fn apply(&self, registered: &mut Registered, offline_after: &mut Option<Millis>) {
        self.name.apply(&mut registered.name);
        self.registration.apply(&mut registered.registration);
        self.vin.apply(&mut registered.vin);
        self.tags.apply(&mut registered.tags);
        self.offline_after.apply(offline_after);
    }

    /// The number plate and the VIN that it sets, where it does.
    pub fn plates(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let both = [("registration", &self.registration), ("vin", &self.vin)];
        both.into_iter().filter_map(|(field, edit)| match edit {
            Edit::Set(Some(text)) => Some((field, &**text)),
            _ => None,
        })
    }
}

/// What becomes of the fields of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CustomerEdits {
    name: Edit<Option<Box<str>>>,
    offline_after: Edit<Option<Millis>>,
}

impl CustomerEdits {
    /// Reads the fields of an object; one that is not there stays as it is, `null` removes it.
    ///
    /// # Errors
    /// Every field that is unknown, not the operator's to write, or holds what it may not.
    pub fn read(fields: &Map<String, Value>) -> Result<Self, Vec<Fault>> {
        let (mut edits, mut faults) = (Self::default(), Vec::new());
        for (field, value) in fields {
            let outcome = match &**field {
                "name" => text(value, NAME_BYTES_MAX).map(|name| edits.name = Edit::Set(name)),
                "offline_after_ms" => timeout(value).map(|after| edits.offline_after = Edit::Set(after)),
                _ => Err(not_ours(field, &CUSTOMER_FIELDS)),
            };
            faults.extend(outcome.err().map(|problem| (field.clone(), problem)));
        }
        if faults.is_empty() { Ok(edits) } else { Err(faults) }
    }

    /// Changes what was there.
    pub fn apply(&self, name: &mut Option<Box<str>>, offline_after: &mut Option<Millis>) {
        self.name.apply(name);
        self.offline_after.apply(offline_after);
    }
}

fn not_ours(field: &str, known: &[&str]) -> String {
    if DERIVED.contains(&field) {
        return "is worked out by Rollcall and cannot be written".to_owned();
    }
    format!("is unknown; what can be written are {}", known.join(", "))
}

fn text(value: &Value, bytes_max: usize) -> Result<Option<Box<str>>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => checked(text, bytes_max).map(Some),
        _ => Err("must be text or null".to_owned()),
    }
}

/// Control characters stand between texts on the wire and in the search, so none is inside one.
fn checked(text: &str, bytes_max: usize) -> Result<Box<str>, String> {
    match text {
        "" => Err("is empty; null removes it".to_owned()),
        text if text.len() > bytes_max => Err(format!("is longer than {bytes_max} bytes")),
        text if text.trim() != text => Err("has a space at either end".to_owned()),
        text if text.chars().any(char::is_control) => Err("holds a control character".to_owned()),
        text => Ok(text.into()),
    }
}

fn tags(value: &Value) -> Result<Tags, String> {
    let list = match value {
        Value::Null => return Ok(Tags::default()),
        Value::Array(list) => list,
        _ => return Err("must be a list of texts or null".to_owned()),
    };
    if list.len() > TAGS_MAX {
        return Err(format!("are {}, at most {TAGS_MAX}", list.len()));
    }
    let mut tags: Vec<Box<str>> = Vec::with_capacity(list.len());
    for tag in list {
        let text = tag.as_str().ok_or("must be a list of texts or null")?;
        let tag = checked(text, TEXT_BYTES_MAX).map_err(|problem| format!("'{text}' {problem}"))?;
        if tags.contains(&tag) {
            return Err(format!("'{tag}' is there twice"));
        }
        tags.push(tag);
    }
    Ok(tags.into())
}

fn timeout(value: &Value) -> Result<Option<Millis>, String> {
    let allowed = TIMEOUT_LEAST..=TIMEOUT_MAX;
    match value {
        Value::Null => Ok(None),
        _ => match value.as_i64().filter(|millis| allowed.contains(millis)) {
            Some(millis) => Ok(Some(millis)),
            None => Err(format!("must be milliseconds, {TIMEOUT_LEAST} to {TIMEOUT_MAX}, or null")),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Edits, Vec<Fault>> {
        Edits::read(value.as_object().expect("an object"))
    }

    #[test]
    fn what_is_named_changes_and_null_removes() {
        let (mut registered, mut after) = (Registered::default(), None);
        let all =
            json!({"name": "Bus 7", "registration": "AB-1", "vin": "V", "tags": ["a", "b"], "offline_after_ms": 500});
        read(all).expect("reads").apply(&mut registered, &mut after);
        assert_eq!((registered.name.as_deref(), registered.tags.len(), after), (Some("Bus 7"), 2, Some(500)));
        read(json!({"name": null, "vin": "W"})).expect("reads").apply(&mut registered, &mut after);
        assert_eq!((registered.name.as_deref(), registered.vin.as_deref(), after), (None, Some("W"), Some(500)));
        assert_eq!(registered.registration.as_deref(), Some("AB-1"));
        let edits = read(json!({"name": "x"})).expect("reads");
        edits.whole().apply(&mut registered, &mut after);
        let only_name = Registered { name: Some("x".into()), ..Registered::default() };
        assert_eq!((registered, after), (only_name, None));
    }

    #[test]
    fn every_wrong_field_is_named() {
        let faults = read(json!({"status": "online", "colour": 1, "name": 7, "vin": " x", "tags": ["a", "a"]}));
        let fields: Vec<String> = faults.expect_err("faults").into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["colour", "name", "status", "tags", "vin"]);
        for (field, value) in [
            ("name", json!("")),
            ("name", json!("x".repeat(NAME_BYTES_MAX + 1))),
            ("vin", json!("a\nb")),
            ("tags", json!("a")),
            ("tags", json!([1])),
            ("tags", json!(vec!["t"; TAGS_MAX + 1])),
            ("offline_after_ms", json!(99)),
            ("offline_after_ms", json!("90s")),
            ("offline_after_ms", json!(1e300)),
        ] {
            assert!(Edits::default().set(field, &value).is_err(), "{field} {value}");
        }
    }
}
