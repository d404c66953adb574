//! The dashboard's files: from the binary, or from a folder while somebody edits them.
//! Fed by web/ at build time; every other path of the service ends here too.

use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, web};
use rust_embed::RustEmbed;

use super::Service;
use super::error::{self, Problem};

#[derive(RustEmbed)]
#[folder = "web/"]
struct Web;

/// One file, or a 404.
pub async fn serve(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return error::unknown_path(request).await;
    }
    let path = request.path().trim_start_matches('/');
    let Some((content, tag)) = file(&service, path) else { return error::unknown_path(request).await };
    let tag = format!("\"{tag}\"");
    let known = request.headers().get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let unchanged = known.is_some_and(|known| known.contains(&tag));
    let mut response = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((ETAG, tag)).insert_header((CACHE_CONTROL, "no-cache"));
    if unchanged {
        return Ok(response.finish());
    }
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    Ok(response.content_type(kind.as_ref()).body(content))
}

/// The content of a file, and a tag that changes with it.
pub fn file(service: &Service, path: &str) -> Option<(Vec<u8>, String)> {
    match &service.web_dir {
        Some(folder) => from_folder(folder, path),
        None => Web::get(path).map(|file| (file.data.into_owned(), hex(&file.metadata.sha256_hash()))),
    }
}

/// A file below the folder; a path that climbs out of it is no file.
fn from_folder(folder: &std::path::Path, path: &str) -> Option<(Vec<u8>, String)> {
    let root = folder.canonicalize().ok()?;
    let file = root.join(path).canonicalize().ok().filter(|file| file.starts_with(&root))?;
    let content = std::fs::read(&file).ok()?;
    let changed = file.metadata().ok()?.modified().ok()?;
    let stamp = changed.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    Some((content, format!("{stamp:x}")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
