//! A part of a list that is ordered by identifier and lies in memory: which part is asked for, and the page it becomes.
//! Used by the lists of keys and of users.

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use super::error::Problem;
use super::params::{Params, cursor};
use super::vehicles::read_customer;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    after: String,
}

#[derive(Serialize)]
struct Page<View> {
    items: Vec<View>,
    next_cursor: Option<String>,
}

/// The part that is asked for.
pub struct Part {
    customer: Option<String>,
    after: Option<String>,
    /// Most items of the page; one more is looked for, to know whether there is another page.
    pub limit: usize,
}

impl Part {
    /// # Errors
    /// 422 naming the parameter that is wrong.
    pub fn read(request: &HttpRequest) -> Result<Self, Problem> {
        let params = Params::read(request, &["customer", "limit", "cursor"])?;
        let after = params.cursor::<Place>()?.map(|place| place.after);
        Ok(Self { customer: read_customer(&params)?, after, limit: params.limit()? })
    }

    /// Whether what belongs to this customer, or to all, is asked for.
    pub fn fits(&self, customer: Option<&str>) -> bool {
        self.customer.is_none() || self.customer.as_deref() == customer
    }

    /// The last identifier of the page before.
    pub fn after<Id>(&self, parse: impl FnOnce(&str) -> Option<Id>) -> Option<Id> {
        self.after.as_deref().and_then(parse)
    }

    /// The page of these, each with its identifier; one more than `limit` says that there is another page.
    pub fn page<View: Serialize>(&self, found: impl Iterator<Item = (String, View)>) -> HttpResponse {
        let mut found: Vec<(String, View)> = found.collect();
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        let last = found.last().filter(|_| more);
        let next_cursor = last.map(|(id, _)| cursor(&Place { after: id.clone() }));
        HttpResponse::Ok().json(Page { items: found.into_iter().map(|(_, view)| view).collect(), next_cursor })
    }
}
