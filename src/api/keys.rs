//! `/keys`: make, list and revoke API keys. A secret is in one answer, that of its making, and nowhere else.
//! Feeds the access station; every change is in the audit.

use std::sync::Arc;

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::auth::Caller;
use super::error::Problem;
use super::params::Params;
use super::parts::Part;
use super::{Service, audit, body};
use crate::domain::access::{Grant, KeyId, Scopes};
use crate::domain::time::{self, Millis};
use crate::store::access::StoredKey;

/// A key as it is shown.
#[derive(Serialize)]
struct View {
    id: String,
    name: String,
    customer: Option<Arc<str>>,
    vehicle: Option<Arc<str>>,
    scopes: Vec<&'static str>,
    #[serde(serialize_with = "time::as_text::serialize")]
    made_at: Millis,
    made_by: String,
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    expires_at: Option<Millis>,
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    revoked_at: Option<Millis>,
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    last_used_at: Option<Millis>,
}

impl From<StoredKey> for View {
    fn from(key: StoredKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.grant.name,
            customer: key.grant.customer,
            vehicle: key.grant.vehicle,
            scopes: key.grant.scopes.list().map(|scope| scope.word()).collect(),
            made_at: key.made_at,
            made_by: key.made_by,
            expires_at: key.grant.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}

#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    view: View,
    key: String,
}

/// What a new key is to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: String,
    customer: Option<String>,
    vehicle: Option<String>,
    scopes: Vec<String>,
    expires_at: Option<String>,
}

impl Asked {
    fn grant(self, caller: &Caller, now: Millis) -> Result<Grant, Problem> {
        let customer = self.customer.map(Arc::from).or_else(|| caller.customer.clone());
        if let Some(other) = customer.as_deref().filter(|customer| !caller.sees(customer)) {
            return Err(Problem::field("customer", format!("there is no customer '{other}'")));
        }
        let scopes = Scopes::parse(&self.scopes.join(",")).map_err(|problem| Problem::field("scopes", problem))?;
        let wrong = |text: &str| Problem::field("expires_at", format!("'{text}' is not RFC 3339"));
        let expires_at = self.expires_at.map(|text| time::parse(&text).ok_or_else(|| wrong(&text))).transpose()?;
        let grant = Grant { name: self.name, customer, vehicle: self.vehicle.map(Arc::from), scopes, expires_at };
        grant.check(now).map_err(|(field, problem)| Problem::field(field, problem))?;
        Ok(grant)
    }
}

/// Makes a key: 201, with its secret for the only time.
pub async fn create(
    request: HttpRequest,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let asked: Asked = body::json(&request, payload).await?;
    let grant = asked.grant(params.caller(), service.clock.today())?;
    let customer = grant.customer.clone();
    let made = service.access.create(grant, &params.caller().who.to_string()).await;
    let (stored, full) = made.map_err(|error| Problem::store(&error))?;
    let subject = format!("key {} ({})", stored.id, stored.grant.name);
    audit::note(&service, &request, "key.created", customer, subject).await;
    let place = format!("/api/v1/keys/{}", stored.id);
    let made = Made { view: stored.into(), key: full.expose() };
    Ok(HttpResponse::Created().insert_header((LOCATION, place)).json(made))
}

/// A page of the keys, by identifier; revoked and expired ones too.
pub async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let part = Part::read(&request)?;
    let fits = |grant: &Grant| part.fits(grant.customer.as_deref());
    let keys = service.access.page(part.after(KeyId::parse), part.limit + 1, fits);
    Ok(part.page(keys.into_iter().map(|key| (key.id.to_string(), View::from(key)))))
}

/// One key.
pub async fn one(
    request: HttpRequest,
    path: web::Path<String>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    Ok(HttpResponse::Ok().json(View::from(find(&service, params.caller(), &path)?)))
}

/// Revokes a key: from the answer on nothing is let in with it, and within a second who came in with it is out.
pub async fn revoke(
    request: HttpRequest,
    path: web::Path<String>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let key = find(&service, params.caller(), &path)?;
    if service.access.revoke(key.id).await.map_err(|error| Problem::store(&error))? {
        let subject = format!("key {} ({})", key.id, key.grant.name);
        audit::note(&service, &request, "key.revoked", key.grant.customer, subject).await;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// A key that the caller may see.
fn find(service: &Service, caller: &Caller, id: &str) -> Result<StoredKey, Problem> {
    let found = KeyId::parse(id).and_then(|id| service.access.find(id));
    let is_own = |key: &StoredKey| caller.customer.is_none() || key.grant.customer == caller.customer;
    found.filter(is_own).ok_or_else(|| Problem::not_found(format!("there is no key '{id}'")))
}
