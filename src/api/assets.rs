//! The dashboard's files: from the binary, or from a folder while somebody edits them; and the operator's map tiles.
//! Fed by web/ at build time; every other path of the service ends here too.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use actix_web::http::Method;
use actix_web::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderName, IF_NONE_MATCH, VARY,
};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use rust_embed::RustEmbed;
use siphasher::sip::SipHasher13;

use super::error::{self, Problem};
use super::{Service, map};

#[derive(RustEmbed)]
#[folder = "web/"]
struct Web;

/// The form of a file that the client prefers; its twin carries that ending. Compressed on the way, the map's library
/// would cost every visitor's wait and our processor 100 ms; the twins are made once, by scripts/vendor.mjs.
const TWINS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];
/// Folders whose files have such twins.
const COMPRESSED: [&str; 2] = ["vendor/", "data/"];

/// One file and how it is sent.
struct Found {
    content: Bytes,
    tag: String,
    encoding: Option<&'static str>,
}

/// One file, or a 404.
pub async fn serve(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return error::unknown_path(request).await;
    }
    let path = request.path().trim_start_matches('/');
    if path == map::TILES_PATH {
        return map::tiles(request, service).await;
    }
    let Some(found) = find(path, header(&request, ACCEPT_ENCODING), &service) else {
        return error::unknown_path(request).await;
    };
    let tag = format!("\"{}{}\"", found.tag, found.encoding.unwrap_or_default());
    let unchanged = header(&request, IF_NONE_MATCH).contains(&tag);
    let mut response = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((ETAG, tag)).insert_header((CACHE_CONTROL, caching(path)));
    if COMPRESSED.iter().any(|folder| path.starts_with(folder)) {
        response.insert_header((VARY, "accept-encoding"));
    }
    if unchanged {
        return Ok(response.finish());
    }
    if let Some(encoding) = found.encoding {
        response.insert_header((CONTENT_ENCODING, encoding));
    }
    Ok(response.content_type(kind_of(path)).body(found.content))
}

/// Modules are scripts like the others; the list of types still calls them by their old name.
fn kind_of(path: &str) -> String {
    match path.ends_with(".mjs") {
        true => "text/javascript".to_owned(),
        false => mime_guess::from_path(path).first_or_octet_stream().to_string(),
    }
}

/// A vendored file carries its version in its path, so it never changes; every other file is asked for again, and its
/// tag saves sending it.
fn caching(path: &str) -> &'static str {
    let versioned = path.strip_prefix("vendor/").and_then(|rest| rest.split_once('/'));
    if versioned.is_some_and(|(library, _)| library.contains('@')) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    }
}

/// The file as the client takes it best.
fn find(path: &str, accepted: &str, service: &Service) -> Option<Found> {
    let read = |path: &str| file(service, path);
    let twins = TWINS.iter().filter(|_| COMPRESSED.iter().any(|folder| path.starts_with(folder)));
    for (encoding, ending) in twins.filter(|(encoding, _)| accepts(accepted, encoding)) {
        if let Some((content, tag)) = read(&format!("{path}{ending}")) {
            return Some(Found { content, tag, encoding: Some(encoding) });
        }
    }
    read(path).map(|(content, tag)| Found { content, tag, encoding: None })
}

/// Whether an `Accept-Encoding` names this encoding and does not refuse it with `q=0`.
fn accepts(header: &str, encoding: &str) -> bool {
    header.split(',').any(|choice| {
        let (name, weight) = choice.split_once(';').unwrap_or((choice, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|number| number.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case(encoding) && weight.is_none_or(|weight| weight > 0.0)
    })
}

fn header(request: &HttpRequest, name: HeaderName) -> &str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn embedded(path: &str) -> Option<(Bytes, String)> {
    let file = Web::get(path)?;
    let tag = hex(&file.metadata.sha256_hash());
    let content = match file.data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => data.into(),
    };
    Some((content, tag))
}

/// The content of a file, and a tag that changes with it.
pub fn file(service: &Service, path: &str) -> Option<(Bytes, String)> {
    match &service.web_dir {
        Some(folder) => from_folder(folder, path),
        None => embedded(path),
    }
}

/// A file below the folder; a path that climbs out of it is no file.
fn from_folder(folder: &Path, path: &str) -> Option<(Bytes, String)> {
    let root = folder.canonicalize().ok()?;
    let file = root.join(path).canonicalize().ok().filter(|file| file.starts_with(&root))?;
    let content = std::fs::read(&file).ok()?;
    Some((content.into(), stamp(&file)?))
}

/// When a file was written.
fn stamp(file: &Path) -> Option<String> {
    let changed = file.metadata().ok()?.modified().ok()?;
    let since = changed.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    Some(format!("{since:x}"))
}

/// Tells one set of files from another: a page that was made of another one is out of date. Two builds of one version
/// may differ in it, and a folder that somebody edits changes it without a new start.
pub fn mark(service: &Service) -> String {
    static EMBEDDED: OnceLock<String> = OnceLock::new();
    let embedded = || mark_of(Web::iter().filter_map(|path| Some((path.to_string(), embedded(&path)?.1))));
    match &service.web_dir {
        Some(folder) => mark_of(stamps(folder.clone())),
        None => EMBEDDED.get_or_init(embedded).clone(),
    }
}

/// Of paths and tags, in whatever order they are found.
fn mark_of(files: impl Iterator<Item = (String, String)>) -> String {
    let mut files: Vec<_> = files.collect();
    files.sort_unstable();
    let mut hasher = SipHasher13::new();
    files.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Every file of a folder and of those in it; what cannot be read is not served either.
fn stamps(root: PathBuf) -> impl Iterator<Item = (String, String)> {
    let mut folders = vec![root];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                _ => found.extend(stamp(&path).map(|stamp| (path.display().to_string(), stamp))),
            }
        }
    }
    found.into_iter()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_is_taken_when_it_is_named_and_not_refused() {
        for header in ["gzip, br", "br;q=0.1", "BR", "gzip;q=1.0, br ; q=0.5"] {
            assert!(accepts(header, "br"), "{header}");
        }
        for header in ["", "gzip", "br;q=0", "brotli", "gzip, br;q=0.0"] {
            assert!(!accepts(header, "br"), "{header}");
        }
    }

    #[test]
    fn a_set_of_files_is_known_by_names_and_contents_in_any_order() {
        let mark = |files: &[(&str, &str)]| mark_of(files.iter().map(|(path, tag)| ((*path).into(), (*tag).into())));
        let one = mark(&[("app.css", "1"), ("js/app.js", "2")]);
        assert_eq!(one, mark(&[("js/app.js", "2"), ("app.css", "1")]));
        for other in [&[("app.css", "1"), ("js/app.js", "3")][..], &[("app.css", "1"), ("js/map.js", "2")], &[]] {
            assert_ne!(one, mark(other));
        }
    }

    #[test]
    fn a_file_deep_in_the_folder_counts() {
        let folder = std::env::temp_dir().join(format!("rollcall-mark-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("js/deep")).expect("folder");
        std::fs::write(folder.join("index.html"), "x").expect("file");
        let before = mark_of(stamps(folder.clone()));
        assert_eq!(before, mark_of(stamps(folder.clone())));
        std::fs::write(folder.join("js/deep/new.js"), "x").expect("file");
        assert_ne!(before, mark_of(stamps(folder.clone())));
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn only_a_path_with_a_version_is_kept_for_ever() {
        assert!(caching("vendor/maplibre-gl@6.17.0/maplibre-gl.mjs").contains("immutable"));
        for path in ["index.html", "vendor/VENDOR.json", "data/base-110m.json", "js/app@2.js"] {
            assert_eq!(caching(path), "no-cache", "{path}");
        }
    }
}
