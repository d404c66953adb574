//! A small store that speaks S3, in this process: objects in memory, uploads in pieces, ranges, lists; and it can be
//! made to fail. Used by exports.rs.

use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use actix_web::http::header::{AUTHORIZATION, CONTENT_RANGE, ETAG, LAST_MODIFIED, RANGE};
use actix_web::http::{Method, StatusCode};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use parking_lot::Mutex;

/// Who may use it.
pub const ACCESS_KEY: &str = "rollcall-test";
const DATE: &str = "Sat, 28 Nov 2026 10:00:00 GMT";

/// One bucket of it.
#[derive(Default)]
pub struct Bucket {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    uploads: Mutex<HashMap<String, BTreeMap<u32, Vec<u8>>>>,
    /// Everything is answered 503.
    pub fails: AtomicBool,
    /// Pieces of uploads that came.
    pub pieces: AtomicU64,
    /// Requests that were refused while it failed.
    pub refused: AtomicU64,
    number: AtomicU64,
}

impl Bucket {
    /// Listens; its address, such as `http://127.0.0.1:1234`.
    pub fn start() -> (Arc<Self>, String) {
        let bucket = Arc::<Self>::default();
        let data = web::Data::from(Arc::clone(&bucket));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("a port"));
        std::thread::spawn(move || {
            let app = move || {
                let limit = web::PayloadConfig::new(32 << 20);
                App::new().app_data(data.clone()).app_data(limit).default_service(web::to(answer))
            };
            let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).expect("listens");
            actix_web::rt::System::new().block_on(server.run())
        });
        (bucket, address)
    }

    /// The names of all objects.
    pub fn names(&self) -> Vec<String> {
        self.objects.lock().keys().cloned().collect()
    }

    /// Uploads that were neither ended nor taken back.
    pub fn open_uploads(&self) -> usize {
        self.uploads.lock().len()
    }

    fn xml(body: String) -> HttpResponse {
        HttpResponse::Ok().content_type("application/xml").insert_header((ETAG, "\"0\"")).body(body)
    }

    fn list(&self, bucket: &str, prefix: &str) -> HttpResponse {
        let objects = self.objects.lock();
        let found = objects.iter().filter_map(|(name, object)| Some((name.strip_prefix(bucket)?, object)));
        let found = found.filter(|(name, _)| name.starts_with(prefix));
        let items = found.map(|(name, object)| {
            let (length, date) = (object.len(), "2026-11-28T10:00:00.000Z");
            format!(
                "<Contents><Key>{name}</Key><LastModified>{date}</LastModified><ETag>\"0\"</ETag><Size>{length}</Size>\
                 </Contents>"
            )
        });
        let items: String = items.collect();
        Self::xml(format!("<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>"))
    }

    fn get(&self, name: &str, request: &HttpRequest) -> HttpResponse {
        let objects = self.objects.lock();
        let Some(object) = objects.get(name) else { return HttpResponse::NotFound().finish() };
        let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
        let range = range.and_then(|range| range.split_once('-'));
        let mut answer = HttpResponse::Ok();
        answer.insert_header((ETAG, "\"0\"")).insert_header((LAST_MODIFIED, DATE));
        let Some((first, last)) = range else { return answer.body(object.clone()) };
        let (first, last): (usize, usize) = (first.parse().expect("a number"), last.parse().expect("a number"));
        let last = last.min(object.len() - 1);
        answer.status(StatusCode::PARTIAL_CONTENT);
        answer.insert_header((CONTENT_RANGE, format!("bytes {first}-{last}/{}", object.len())));
        answer.body(object[first..=last].to_vec())
    }

    fn put(&self, name: &str, query: &HashMap<String, String>, body: &[u8]) -> HttpResponse {
        match (query.get("uploadId"), query.get("partNumber")) {
            (Some(upload), Some(part)) => {
                let mut uploads = self.uploads.lock();
                let Some(parts) = uploads.get_mut(upload) else { return HttpResponse::NotFound().finish() };
                parts.insert(part.parse().expect("a number"), body.to_vec());
                self.pieces.fetch_add(1, Relaxed);
            }
            _ => drop(self.objects.lock().insert(name.to_owned(), body.to_vec())),
        }
        HttpResponse::Ok().insert_header((ETAG, "\"0\"")).finish()
    }

    fn post(&self, name: &str, query: &HashMap<String, String>) -> HttpResponse {
        let Some(upload) = query.get("uploadId") else {
            let upload = format!("upload-{}", self.number.fetch_add(1, Relaxed));
            self.uploads.lock().insert(upload.clone(), BTreeMap::new());
            return Self::xml(format!(
                "<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            ));
        };
        let Some(parts) = self.uploads.lock().remove(upload) else { return HttpResponse::NotFound().finish() };
        self.objects.lock().insert(name.to_owned(), parts.into_values().flatten().collect());
        Self::xml("<CompleteMultipartUploadResult><ETag>\"0\"</ETag></CompleteMultipartUploadResult>".into())
    }

    fn delete(&self, name: &str, query: &HashMap<String, String>) -> HttpResponse {
        match query.get("uploadId") {
            Some(upload) => drop(self.uploads.lock().remove(upload)),
            None => drop(self.objects.lock().remove(name)),
        }
        HttpResponse::NoContent().finish()
    }
}

/// `/bucket/key`, as a client asks that does not put the bucket into the host's name.
async fn answer(bucket: web::Data<Bucket>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    if bucket.fails.load(Relaxed) {
        bucket.refused.fetch_add(1, Relaxed);
        return HttpResponse::ServiceUnavailable().finish();
    }
    let signed = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok()).unwrap_or_default();
    if !signed.starts_with(&format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/")) || !signed.contains("Signature=") {
        return HttpResponse::Forbidden().finish();
    }
    let query: HashMap<String, String> = serde_urlencoded::from_str(request.query_string()).unwrap_or_default();
    let name = request.path().trim_start_matches('/');
    match *request.method() {
        Method::GET if query.contains_key("list-type") => {
            let prefix = query.get("prefix").map_or("", String::as_str);
            bucket.list(&format!("{}/", name.trim_end_matches('/')), prefix)
        }
        Method::GET | Method::HEAD => bucket.get(name, &request),
        Method::PUT => bucket.put(name, &query, &body),
        Method::POST => bucket.post(name, &query),
        Method::DELETE => bucket.delete(name, &query),
        _ => HttpResponse::MethodNotAllowed().finish(),
    }
}
