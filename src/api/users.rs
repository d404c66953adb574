//! `/users`: who may sign in with a name and a password. Nobody makes or changes a user who may do more than he may.
//! Feeds the logins; every change is in the audit, and ends the user's sessions.

use std::sync::Arc;

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::auth::Caller;
use super::error::Problem;
use super::params::Params;
use super::parts::Part;
use super::{Service, audit, body};
use crate::access::logins::Change;
use crate::domain::access::{Role, Scope, UserId};
use crate::domain::login::{Login, check_password};
use crate::domain::time::{self, Millis};
use crate::store::logins::StoredUser;

/// A user as it is shown.
#[derive(Serialize)]
struct View {
    id: String,
    user: String,
    customer: Option<Arc<str>>,
    name: Arc<str>,
    role: &'static str,
    #[serde(serialize_with = "time::as_text::serialize")]
    made_at: Millis,
    made_by: String,
    signs_in_with: &'static str,
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    disabled_at: Option<Millis>,
}

impl From<StoredUser> for View {
    fn from(user: StoredUser) -> Self {
        Self {
            id: user.id.to_string(),
            user: user.login.to_string(),
            customer: user.login.customer,
            name: user.login.name,
            role: user.role.word(),
            made_at: user.made_at,
            made_by: user.made_by,
            signs_in_with: if user.identity.is_some() { "provider" } else { "password" },
            disabled_at: user.disabled_at,
        }
    }
}

/// What a new user is to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    customer: Option<String>,
    name: String,
    role: String,
    password: String,
}

/// What is to be another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedChange {
    role: Option<String>,
    password: Option<String>,
    disabled: Option<bool>,
}

/// Makes a user: 201.
pub async fn create(
    request: HttpRequest,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let asked: Asked = body::json(&request, payload).await?;
    let caller = params.caller();
    let customer = asked.customer.as_deref().or(caller.customer.as_deref());
    if let Some(other) = customer.filter(|customer| !caller.sees(customer)) {
        return Err(Problem::field("customer", format!("there is no customer '{other}'")));
    }
    let login = Login::new(customer, &asked.name).map_err(|(field, problem)| Problem::field(field, problem))?;
    let (role, password) = (read_role(&asked.role)?, read_password("password", asked.password)?);
    check_reach(caller, &login, role)?;
    let text = login.to_string();
    let made = service.logins.create(login, role, &password, &caller.who.to_string()).await;
    let made = made.map_err(|error| Problem::store(&error))?;
    let user = made.ok_or_else(|| Problem::conflict(format!("there is a user '{text}' already")))?;
    audit::note(&service, &request, "user.created", user.login.customer.clone(), subject(&user)).await;
    let place = format!("/api/v1/users/{}", user.id);
    Ok(HttpResponse::Created().insert_header((LOCATION, place)).json(View::from(user)))
}

/// A page of the users, by identifier; disabled ones too.
pub async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let part = Part::read(&request)?;
    let fits = |user: &StoredUser| part.fits(user.login.customer.as_deref());
    let users = service.logins.page(part.after(UserId::parse), part.limit + 1, fits);
    Ok(part.page(users.into_iter().map(|user| (user.id.to_string(), View::from(user)))))
}

/// One user.
pub async fn one(
    request: HttpRequest,
    path: web::Path<String>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    Ok(HttpResponse::Ok().json(View::from(find(&service, params.caller(), &path)?)))
}

/// Changes role, password or whether somebody may sign in as this one; all of the user's sessions end with the answer.
pub async fn change(
    request: HttpRequest,
    path: web::Path<String>,
    payload: web::Payload,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let asked: AskedChange = body::json(&request, payload).await?;
    let user = find(&service, params.caller(), &path)?;
    let role = asked.role.as_deref().map(read_role).transpose()?;
    let password = asked.password.map(|password| read_password("password", password)).transpose()?;
    for role in [Some(user.role), role].into_iter().flatten() {
        check_reach(params.caller(), &user.login, role)?;
    }
    if user.identity.is_some() && (role.is_some() || password.is_some()) {
        let detail = "this user signs in with the identity provider, which says what the role is; there is no password";
        return Err(Problem::conflict(detail));
    }
    let what = match (asked.disabled, &password) {
        (Some(true), _) => "user.disabled",
        (_, Some(_)) => "user.password_changed",
        _ => "user.changed",
    };
    let change = Change { role, password, disabled: asked.disabled };
    let user = service.logins.change(user, change, None).await.map_err(|error| Problem::store(&error))?;
    audit::note(&service, &request, what, user.login.customer.clone(), subject(&user)).await;
    Ok(HttpResponse::Ok().json(View::from(user)))
}

fn subject(user: &StoredUser) -> String {
    format!("user {} ({})", user.login, user.role.word())
}

fn read_role(word: &str) -> Result<Role, Problem> {
    let role = Role::from_word(word);
    role.ok_or_else(|| Problem::field("role", format!("'{word}' is no role; use viewer, operator or admin")))
}

/// A password that may be one; `field` names it in the answer.
pub fn read_password(field: &str, password: String) -> Result<String, Problem> {
    check_password(&password).map_err(|problem| Problem::field(field, problem))?;
    Ok(password)
}

/// Nobody may give what he has not: a role of more scopes, or users of all customers without being an administrator.
fn check_reach(caller: &Caller, login: &Login, role: Role) -> Result<(), Problem> {
    if login.customer.is_none() && !caller.scopes.has(Scope::Admin) {
        return Err(Problem::forbidden(Scope::Admin, "users of all customers need the scope admin"));
    }
    match role.scopes().list().find(|scope| !caller.scopes.has(*scope)) {
        Some(scope) => {
            let detail = format!("a user with the role {} needs the scope {}", role.word(), scope.word());
            Err(Problem::forbidden(scope, detail))
        }
        None => Ok(()),
    }
}

/// A user that the caller may see.
fn find(service: &Service, caller: &Caller, id: &str) -> Result<StoredUser, Problem> {
    let found = UserId::parse(id).and_then(|id| service.logins.find(id));
    let is_own = |user: &StoredUser| caller.customer.is_none() || user.login.customer == caller.customer;
    found.filter(is_own).ok_or_else(|| Problem::not_found(format!("there is no user '{id}'")))
}
