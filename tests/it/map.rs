//! The dashboard's map from outside: its library and data as they are sent, the operator's choice, the file of tiles in
//! pieces, and a Content-Security-Policy that lets the page speak to the chosen hosts and to no other.

use serde_json::json;

use crate::support::{Service, rollcall};

const LIBRARY: &str = "/vendor/maplibre-gl@6.17.0/maplibre-gl.mjs";

async fn ask(service: &Service, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = reqwest::Client::new().get(service.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("answers")
}

fn header<'a>(response: &'a reqwest::Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

#[tokio::test]
async fn the_library_is_sent_compressed_as_the_client_can_and_kept_for_ever() {
    let service = Service::with_settings(&[]);
    let mut sizes = Vec::new();
    for (accepted, encoding) in [("gzip, deflate, br", "br"), ("gzip", "gzip"), ("identity", "")] {
        let answer = ask(&service, LIBRARY, &[("accept-encoding", accepted)]).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "content-encoding")), (200, encoding), "{accepted}");
        assert_eq!(header(&answer, "content-type").split(';').next(), Some("text/javascript"));
        assert!(header(&answer, "cache-control").contains("immutable"), "{answer:?}");
        assert!(header(&answer, "vary").contains("accept-encoding"), "{answer:?}");
        let tag = header(&answer, "etag").to_owned();
        sizes.push(answer.bytes().await.expect("bytes").len());
        let known = [("accept-encoding", accepted), ("if-none-match", tag.as_str())];
        assert_eq!(ask(&service, LIBRARY, &known).await.status(), 304, "{accepted}");
    }
    assert!(sizes[0] < sizes[1] && sizes[1] < sizes[2] / 3, "{sizes:?}");
}

#[tokio::test]
async fn data_is_compressed_too_but_asked_for_again() {
    let service = Service::with_settings(&[]);
    let answer = ask(&service, "/data/base-110m.json", &[("accept-encoding", "br")]).await;
    assert_eq!((header(&answer, "content-encoding"), header(&answer, "cache-control")), ("br", "no-cache"));
    assert_eq!(header(&answer, "content-type"), "application/json");
}

#[tokio::test]
async fn by_default_the_map_names_no_host_and_the_policy_allows_none() {
    let service = Service::with_settings(&[]);
    let chosen = service.get("/api/v1/map").await;
    assert_eq!(chosen, json!({"style_url": null, "raster_tiles": null, "attribution": null, "pmtiles": null}));
    let page = ask(&service, "/", &[]).await;
    assert!(!header(&page, "content-security-policy").contains("://"), "{page:?}");
    assert_eq!(ask(&service, "/map/tiles.pmtiles", &[]).await.status(), 404);
}

#[tokio::test]
async fn the_policy_allows_the_chosen_hosts_for_data_and_pictures_and_for_nothing_else() {
    let (style, tiles) = ("https://style.example.org/s.json", "https://tiles.example.org:8443/{z}/{x}/{y}.png");
    let service = Service::with_settings(&[
        ("ROLLCALL__MAP__STYLE_URL", style),
        ("ROLLCALL__MAP__RASTER_TILES", tiles),
        ("ROLLCALL__MAP__ATTRIBUTION", "© somebody"),
    ]);
    let chosen = service.get("/api/v1/map").await;
    let expected = json!({"style_url": style, "raster_tiles": tiles, "attribution": "© somebody", "pmtiles": null});
    assert_eq!(chosen, expected);
    let page = ask(&service, "/", &[]).await;
    let policy = header(&page, "content-security-policy");
    for rule in policy.split(';').map(str::trim) {
        let widened = rule.starts_with("connect-src ") || rule.starts_with("img-src ");
        let hosts = ["https://style.example.org", "https://tiles.example.org:8443"];
        assert!(hosts.iter().all(|host| rule.contains(host) == widened), "{rule}");
    }
}

#[tokio::test]
async fn a_file_of_tiles_is_read_in_pieces() {
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), b"PMTiles0123456789").expect("write");
    let service = Service::with_settings(&[("ROLLCALL__MAP__PMTILES", file.path().to_str().expect("text"))]);
    let path = service.get("/api/v1/map").await["pmtiles"].as_str().expect("a path").to_owned();
    let piece = ask(&service, &path, &[("range", "bytes=7-9"), ("accept-encoding", "gzip")]).await;
    assert_eq!((piece.status().as_u16(), header(&piece, "content-range")), (206, "bytes 7-9/17"));
    assert_eq!(header(&piece, "content-type"), "application/vnd.pmtiles");
    let tag = header(&piece, "etag").to_owned();
    assert_eq!(piece.bytes().await.expect("bytes"), "012");
    assert!(!tag.is_empty(), "a reader can tell that the file was replaced");
    assert_eq!(ask(&service, &path, &[("range", "bytes=99-")]).await.status(), 416);
}

#[test]
fn a_file_of_tiles_that_is_not_there_is_said_at_the_start() {
    let mut command = rollcall(&["serve", "--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0"]);
    let output = command.env("ROLLCALL__MAP__PMTILES", "/nowhere.pmtiles").output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("map.pmtiles = /nowhere.pmtiles is not a file"), "{stderr}");
}
