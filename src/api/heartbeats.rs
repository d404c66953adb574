//! `POST /heartbeats`: one heartbeat or up to a thousand, through the same door as MQTT.
//! Feeds the door. A bad heartbeat in a list is named by its index and does not hold up the others.

use std::borrow::Cow;
use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Service;
use super::auth::Caller;
use super::body;
use super::error::Problem;
use super::params::Params;
use crate::domain::access::Scope;
use crate::domain::heartbeat::{self, Format, Heartbeat, Refusal, Refused};

/// Most heartbeats in one request.
const HEARTBEATS_MAX: usize = 1_000;

#[derive(Debug, Serialize)]
struct RefusedItem {
    index: usize,
    problem: String,
}

#[derive(Debug, Serialize)]
struct Answer {
    accepted: usize,
    refused: Vec<RefusedItem>,
}

/// Takes heartbeats. 202 with the refused ones by index; 429 when intake is full; a single bad one is 422.
pub async fn take(
    request: HttpRequest,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    body::kind(&request, body::JSON)?;
    let body = body::read(payload, body::BODY_BYTES_MAX).await?;
    let single = body.trim_ascii_start().first() == Some(&b'{');
    let items: Vec<&RawValue> = if single {
        vec![serde_json::from_slice(&body).map_err(|error| Problem::unreadable(error.to_string()))?]
    } else {
        serde_json::from_slice(&body)
            .map_err(|_| Problem::unreadable("the body must be a heartbeat or an array of heartbeats, in JSON"))?
    };
    if items.len() > HEARTBEATS_MAX {
        return Err(Problem::too_large(format!("{} heartbeats; send at most {HEARTBEATS_MAX} at once", items.len())));
    }
    let mut answer = Answer { accepted: 0, refused: Vec::new() };
    for (index, item) in items.into_iter().enumerate() {
        match take_one(&service, params.caller(), item.get()) {
            Ok(true) => answer.accepted += 1,
            Ok(false) => {
                let detail =
                    format!("intake is full; {} heartbeats were taken, send again from there", answer.accepted);
                return Err(Problem::busy(detail));
            }
            Err(Fault::Foreign(detail)) if single => return Err(Problem::forbidden(Scope::Ingest, detail)),
            Err(Fault::Foreign(problem)) => answer.refused.push(RefusedItem { index, problem }),
            Err(Fault::Field(field, problem)) if single => return Err(Problem::field(&field, problem)),
            Err(Fault::Field(field, problem)) => {
                answer.refused.push(RefusedItem { index, problem: format!("{field}: {problem}") });
            }
        }
    }
    Ok(HttpResponse::Accepted().json(answer))
}

/// Why a heartbeat is not taken.
enum Fault {
    /// A field and what is wrong with it.
    Field(String, String),
    /// The caller may not speak for this vehicle.
    Foreign(String),
}

/// `false` when intake is full.
fn take_one(service: &Service, caller: &Caller, item: &str) -> Result<bool, Fault> {
    let outcome = read_one(item).and_then(|(customer, vehicle, beat)| {
        if !caller.may_send(&customer, &vehicle) {
            return Ok(Err(Fault::Foreign(format!("this key may not send as '{vehicle}' of customer '{customer}'"))));
        }
        let refused = |refused: Refused| (field_of(&refused), refused);
        service.door.take_heartbeat(&customer, &vehicle, beat).map(Ok).map_err(refused)
    });
    outcome.unwrap_or_else(|(field, refused)| {
        service.door.note_refused(&refused, "http", item.as_bytes());
        Err(Fault::Field(field, refused.detail))
    })
}

type Named<'a> = (Cow<'a, str>, Cow<'a, str>, Heartbeat);

fn read_one(item: &str) -> Result<Named<'_>, (String, Refused)> {
    let bad = |field: &str, detail: String| (field.to_owned(), Refused::new(Refusal::BadPayload, detail));
    let fields: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(item).map_err(|error| bad("heartbeat", error.to_string()))?;
    let known = |name: &str| heartbeat::FIELDS.contains(&name) || matches!(name, "customer" | "vehicle");
    if let Some(unknown) = fields.keys().find(|name| !known(name)) {
        return Err(bad(unknown, "is unknown in a heartbeat".into()));
    }
    let name = |field: &str| {
        let text = fields.get(field).ok_or_else(|| bad(field, "is missing".into()))?;
        serde_json::from_str::<Cow<'_, str>>(text.get()).map_err(|_| bad(field, "must be text".into()))
    };
    let (customer, vehicle) = (name("customer")?, name("vehicle")?);
    let beat = heartbeat::decode(Format::Json, item.as_bytes()).map_err(|refused| (field_of(&refused), refused))?;
    Ok((customer, vehicle, beat))
}

/// The field a refusal speaks of: its sentence begins with it, where there is one.
fn field_of(refused: &Refused) -> String {
    let first = refused.detail.split([' ', ':']).next().unwrap_or_default();
    let known = heartbeat::FIELDS.contains(&first) || matches!(first, "customer" | "vehicle");
    if known { first.to_owned() } else { "heartbeat".to_owned() }
}
