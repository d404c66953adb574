//! As much of JSON Schema as the document uses: compares a value with its schema and says every difference.
//! A keyword that is not known here is a fault too, so that nothing goes unchecked by mistake.

use serde_json::{Map, Value, json};

/// Keywords that say something for people, or about requests, which this test does not make up.
const NOT_CHECKED: [&str; 7] =
    ["description", "examples", "default", "maxLength", "minLength", "propertyNames", "pattern"];

/// The document, as it was fetched.
pub struct Document(Value);

/// What a `$ref` leads to.
pub fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    root.pointer(reference.strip_prefix('#')?)
}

impl Document {
    /// A document that says which version of OpenAPI it is.
    pub fn new(root: Value) -> Self {
        assert_eq!(root["openapi"], json!("3.1.0"), "no document: {root}");
        Self(root)
    }

    /// All of it.
    pub fn root(&self) -> &Value {
        &self.0
    }

    /// Every path, sorted.
    pub fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.0["paths"].as_object().expect("paths").keys().cloned().collect();
        paths.sort();
        paths
    }

    /// The paths that have this method.
    pub fn paths_with(&self, method: &str) -> Vec<String> {
        self.paths().into_iter().filter(|path| self.operation(path, method).is_some()).collect()
    }

    /// One operation.
    pub fn operation(&self, path: &str, method: &str) -> Option<&Value> {
        self.0["paths"][path].get(method)
    }

    /// What is said about one status of an operation.
    pub fn answer(&self, path: &str, method: &str, status: u16) -> Option<&Value> {
        let answer = self.operation(path, method)?["responses"].get(status.to_string())?;
        Some(self.follow(answer))
    }

    /// The differences between a value and a schema; `place` is where the value was found.
    pub fn faults(&self, schema: &Value, value: &Value, place: &str) -> Vec<String> {
        let schema = self.follow(schema);
        let rules = schema.as_object().expect("a schema");
        let mut faults = Vec::new();
        for (keyword, rule) in rules {
            faults.extend(self.keyword(keyword, rule, rules, value).into_iter().map(|fault| match fault {
                Fault::Here(problem) => format!("{place}: {problem}, but is {value}"),
                Fault::Inside(name, schema, value) => self.faults(schema, value, &format!("{place}.{name}")).join("\n"),
            }));
        }
        faults.retain(|fault| !fault.is_empty());
        faults
    }

    fn follow<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => resolve(&self.0, reference).unwrap_or_else(|| panic!("{reference} leads nowhere")),
            None => value,
        }
    }

    fn keyword<'a>(
        &'a self,
        keyword: &str,
        rule: &'a Value,
        rules: &'a Map<String, Value>,
        value: &'a Value,
    ) -> Vec<Fault<'a>> {
        let here = |wrong: bool, problem: String| if wrong { vec![Fault::Here(problem)] } else { Vec::new() };
        let length = value.as_array().map(Vec::len).or_else(|| value.as_object().map(Map::len));
        match keyword {
            "type" => {
                let allowed = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                here(!allowed.iter().any(|name| is_of_type(value, name)), format!("must be {rule}"))
            }
            "const" => here(value != rule, format!("must be {rule}")),
            "enum" => here(!rule.as_array().expect("a list").contains(value), format!("must be one of {rule}")),
            "minimum" => here(value.as_f64() < rule.as_f64() && value.is_number(), format!("must be at least {rule}")),
            "maximum" => here(value.as_f64() > rule.as_f64() && value.is_number(), format!("must be at most {rule}")),
            "minItems" => {
                let least = rule.as_u64().map_or(0, |n| n as usize);
                here(length.is_some_and(|length| length < least), format!("must have at least {rule}"))
            }
            "maxItems" | "maxProperties" => {
                here(length > rule.as_u64().map(|n| n as usize), format!("must have at most {rule}"))
            }
            "format" => here(value.as_str().is_some_and(|text| !is_time(text)), format!("must be a {rule}")),
            "anyOf" => {
                let fits = |schema: &Value| self.faults(schema, value, "").is_empty();
                here(!rule.as_array().expect("a list").iter().any(fits), format!("must fit one of {rule}"))
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.map(|(i, item)| Fault::Inside(i.to_string(), rule, item)).collect()
            }
            "required" => {
                let names = rule.as_array().expect("a list").iter().filter_map(Value::as_str);
                let missing = names.filter(|name| value.is_object() && value.get(name).is_none());
                missing.map(|name| Fault::Here(format!("has no '{name}'"))).collect()
            }
            "properties" => {
                let known = rule.as_object().into_iter().flatten();
                let found = known.filter_map(|(name, schema)| Some((name, schema, value.get(name)?)));
                found.map(|(name, schema, value)| Fault::Inside(name.clone(), schema, value)).collect()
            }
            "additionalProperties" => further_properties(rule, rules, value),
            known if NOT_CHECKED.contains(&known) => Vec::new(),
            unknown => vec![Fault::Here(format!("has the keyword '{unknown}', which this test does not know"))],
        }
    }
}

enum Fault<'a> {
    Here(String),
    Inside(String, &'a Value, &'a Value),
}

fn further_properties<'a>(rule: &'a Value, rules: &'a Map<String, Value>, value: &'a Value) -> Vec<Fault<'a>> {
    let is_known = |name: &str| rules.get("properties").is_some_and(|known| known.get(name).is_some());
    let further = value.as_object().into_iter().flatten().filter(|(name, _)| !is_known(name));
    let fault = |(name, inner): (&String, &'a Value)| match rule {
        Value::Bool(false) => Fault::Here(format!("has '{name}', which is not documented")),
        schema => Fault::Inside(name.clone(), schema, inner),
    };
    further.map(fault).collect()
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}

/// `2026-01-31T08:15:00.123Z`, the only form in which the service writes a time.
fn is_time(text: &str) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:dd.dddZ";
    let fits = |(c, wanted): (char, char)| if wanted == 'd' { c.is_ascii_digit() } else { c == wanted };
    text.len() == pattern.len() && text.chars().zip(pattern.chars()).all(fits)
}

#[test]
fn every_kind_of_difference_is_found() {
    let number = json!({"$ref": "#/number"});
    let object = json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"anyOf": [number, {"type": "null"}]}, "b": {"type": "array", "items": number}}
    });
    let time = json!({"type": ["string", "null"], "format": "date-time"});
    let map = json!({"type": "object", "additionalProperties": number});
    let document = Document(json!({"number": {"type": "integer", "minimum": 1, "maximum": 2}}));
    for (schema, good, bad) in [
        (&number, json!(1), json!(0)),
        (&number, json!(2), json!(3)),
        (&number, json!(1), json!("1")),
        (&number, json!(1), json!(1.5)),
        (&object, json!({"a": 1}), json!({})),
        (&object, json!({"a": null}), json!({"a": "x"})),
        (&object, json!({"a": 1, "b": [1, 2]}), json!({"a": 1, "b": [1, 3]})),
        (&object, json!({"a": 1}), json!({"a": 1, "c": 1})),
        (&object, json!({"a": 1}), json!([1])),
        (&time, json!("2026-01-31T08:15:00.123Z"), json!("2026-01-31T08:15:00Z")),
        (&time, Value::Null, json!(7)),
        (&map, json!({"x": 1}), json!({"x": "1"})),
        (&json!({"enum": ["a"]}), json!("a"), json!("b")),
        (&json!({"const": "a"}), json!("a"), json!("b")),
        (&json!({"minItems": 1, "maxItems": 2}), json!([1]), json!([])),
        (&json!({"minItems": 1, "maxItems": 2}), json!([1]), json!([1, 2, 3])),
    ] {
        assert_eq!(document.faults(schema, &good, "value"), [""; 0], "{good} with {schema}");
        assert_eq!(document.faults(schema, &bad, "value").len(), 1, "{bad} with {schema}");
    }
    assert!(document.faults(&json!({"oneOf": []}), &json!(1), "value")[0].contains("oneOf"));
}
