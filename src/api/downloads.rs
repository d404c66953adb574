//! `GET /exports/{id}/file`: the file of a finished export, whole or a part, for whoever has a link that is still good.
//! Fed by the place of the files, piece by piece, as the client takes it: it costs the same, however long the file is.

use std::ops::Range;

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE, RANGE,
};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde::Deserialize;

use super::Service;
use super::error::Problem;
use crate::domain::export::{ExportId, State};
use crate::domain::time::Millis;
use crate::exports::BadLink;

/// What a link says beside its path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    expires: Millis,
    seal: String,
}

/// The file.
pub async fn file(
    request: HttpRequest,
    path: web::Path<String>,
    service: web::Data<Service>,
) -> Result<HttpResponse, Problem> {
    let forged = || Problem::bad_link(BadLink::Forged);
    let id = ExportId::parse(&path).ok_or_else(forged)?;
    let link: Link = serde_urlencoded::from_str(request.query_string()).map_err(|_| forged())?;
    let checked =
        service.exports.check_link(id, link.expires, &link.seal).map_err(|error| Problem::unlinked(&error))?;
    checked.map_err(Problem::bad_link)?;
    let gone = || Problem::gone("the file of this export is there no more");
    let found = service.store.export(id).await.map_err(|error| Problem::store(&error))?;
    let export = found.filter(|export| export.state == State::Finished).ok_or_else(gone)?;
    let (name, length) = (export.file.as_deref().ok_or_else(gone)?, export.done.bytes);
    let tag = format!("\"{name}\"");
    let asked = part_of(request.headers(), length, &tag);
    let (status, part) = match asked {
        Part::Whole => (StatusCode::OK, 0..length),
        Part::Of(range) => (StatusCode::PARTIAL_CONTENT, range),
        Part::Beyond => {
            let mut refusal = Problem::range(format!("the file has {length} bytes")).error_response();
            if let Ok(value) = format!("bytes */{length}").parse() {
                refusal.headers_mut().insert(CONTENT_RANGE, value);
            }
            return Ok(refusal);
        }
    };
    let pieces = service.exports.read(name, part.clone()).await.map_err(|error| Problem::store(&error))?;
    let pieces = pieces.ok_or_else(gone)?;
    let mut answer = HttpResponse::build(status);
    if status == StatusCode::PARTIAL_CONTENT {
        answer.insert_header((CONTENT_RANGE, format!("bytes {}-{}/{length}", part.start, part.end - 1)));
    }
    let disposition = format!("attachment; filename=\"{}\"", export.order.file_name(id));
    answer
        .content_type(export.order.format.media_type())
        .insert_header((CONTENT_DISPOSITION, disposition))
        .insert_header((ACCEPT_RANGES, "bytes"))
        .insert_header((ETAG, tag))
        // Packed on the way, a part would be a part of something else.
        .insert_header((CONTENT_ENCODING, "identity"));
    Ok(answer.body(SizedStream::new(part.end - part.start, pieces)))
}

/// Which part of a file is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Of(Range<u64>),
    Beyond,
}

/// One range is served; several, or what cannot be read, are answered with everything, as RFC 9110 allows.
fn part_of(headers: &HeaderMap, length: u64, tag: &str) -> Part {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // Of another file than the one the client has a part of, it needs everything.
    if text(IF_RANGE).is_some_and(|known| known != tag) {
        return Part::Whole;
    }
    let spec = text(RANGE).and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = spec else { return Part::Whole };
    let range = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..length,
        (Err(_), Ok(last)) if first.trim().is_empty() => length.saturating_sub(last)..length,
        _ => return Part::Whole,
    };
    if range.is_empty() { Part::Beyond } else { Part::Of(range) }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn asked(range: &'static str, if_range: Option<&'static str>) -> Part {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static(range));
        if let Some(tag) = if_range {
            headers.insert(IF_RANGE, HeaderValue::from_static(tag));
        }
        part_of(&headers, 100, "\"a\"")
    }

    #[test]
    fn one_range_is_served_and_what_cannot_be_read_is_everything() {
        for (range, part) in [
            ("bytes=0-9", Part::Of(0..10)),
            ("bytes=90-", Part::Of(90..100)),
            ("bytes=-10", Part::Of(90..100)),
            ("bytes=-1000", Part::Of(0..100)),
            ("bytes=50-1000", Part::Of(50..100)),
            ("bytes=100-", Part::Beyond),
            ("bytes=-0", Part::Beyond),
            ("bytes=9-0", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=-", Part::Whole),
        ] {
            assert_eq!(asked(range, None), part, "{range}");
        }
        assert_eq!(asked("bytes=0-9", Some("\"a\"")), Part::Of(0..10));
        assert_eq!(asked("bytes=0-9", Some("\"b\"")), Part::Whole);
    }
}
