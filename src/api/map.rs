//! What the dashboard's map is made of besides its built-in part: `GET /api/v1/map`, and the operator's file of tiles.
//! Fed by the settings; read by the dashboard.

use actix_files::NamedFile;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::Service;
use super::error::Problem;
use super::params::Params;

/// Where the file of `map.pmtiles` is read, in pieces (HTTP range requests).
pub const TILES_PATH: &str = "map/tiles.pmtiles";

/// What the operator chose.
pub async fn settings(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?;
    let map = &service.map;
    Ok(HttpResponse::Ok().json(json!({
        "style_url": map.style_url,
        "raster_tiles": map.raster_tiles,
        "attribution": map.attribution,
        "pmtiles": map.pmtiles.as_ref().map(|_| format!("/{TILES_PATH}")),
    })))
}

/// The file, or the range of it that was asked for.
pub async fn tiles(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let Some(path) = &service.map.pmtiles else {
        return Err(Problem::not_found("there is no file of map tiles; map.pmtiles can name one"));
    };
    let file = NamedFile::open_async(path).await.map_err(|error| {
        tracing::warn!("cannot read map.pmtiles, {}: {error}", path.display());
        Problem::not_found("the file of map tiles cannot be read; the log says why")
    })?;
    let kind = "application/vnd.pmtiles".parse().unwrap_or(mime_guess::mime::APPLICATION_OCTET_STREAM);
    Ok(file.set_content_type(kind).disable_content_disposition().into_response(&request))
}
