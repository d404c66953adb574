//! The settings of the dashboard's map, and the hosts they let the page speak to. Read by settings.rs; used by api.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The map of the dashboard. By default it is the built-in one and no request leaves our own host.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Map {
    /// A MapLibre style to draw instead of the built-in map, `https://host/style.json`. All it names has to be on that
    /// host.
    pub style_url: Option<String>,
    /// Raster tiles over the built-in map, `https://host/{z}/{x}/{y}.png`.
    pub raster_tiles: Option<String>,
    /// Who made the tiles, as text on the map.
    pub attribution: Option<String>,
    /// A PMTiles file on this machine, drawn over the built-in map: streets without the internet.
    pub pmtiles: Option<PathBuf>,
}

impl Map {
    /// The origins (`https://host:port`) that the page may speak to besides ours.
    pub fn origins(&self) -> Vec<String> {
        let mut origins: Vec<String> = self.urls().filter_map(|(_, url)| origin(url).ok()).collect();
        origins.dedup();
        origins
    }

    /// Faults, one sentence each.
    pub(super) fn check(&self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .urls()
            .filter_map(|(name, url)| origin(url).err().map(|fault| format!("{name} = {url} {fault}")))
            .collect();
        if let Some(tiles) = &self.raster_tiles {
            let missing = ["{z}", "{x}", "{y}"].into_iter().filter(|part| !tiles.contains(part));
            faults.extend(missing.map(|part| format!("map.raster_tiles = {tiles} has no {part}")));
        }
        faults
    }

    /// Looks for the file of tiles, before anything is bound.
    ///
    /// # Errors
    /// One sentence when it is not there.
    pub fn find_file(&self) -> anyhow::Result<()> {
        match self.pmtiles.as_ref().filter(|file| !file.is_file()) {
            Some(file) => anyhow::bail!("map.pmtiles = {} is not a file", file.display()),
            None => Ok(()),
        }
    }

    fn urls(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let urls = [("map.style_url", &self.style_url), ("map.raster_tiles", &self.raster_tiles)];
        urls.into_iter().filter_map(|(name, url)| Some((name, url.as_deref()?)))
    }
}

/// `https://host:port` of a URL. Strict, since it goes into the Content-Security-Policy.
fn origin(url: &str) -> Result<String, &'static str> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| url.starts_with(scheme));
    let Some(scheme) = scheme else { return Err("does not begin with https:// or http://") };
    let host = url[scheme.len()..].split('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if host.is_empty() || !host.chars().all(plain) {
        return Err("has no plain host name; a login or a placeholder cannot stand there");
    }
    Ok(format!("{scheme}{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_of_the_map_are_known_and_nothing_else_gets_into_the_policy() {
        let map = Map {
            style_url: Some("https://tiles.example.org:8443/style.json?key=k".into()),
            raster_tiles: Some("http://10.0.0.1/{z}/{x}/{y}.png".into()),
            ..Map::default()
        };
        assert_eq!(map.origins(), ["https://tiles.example.org:8443", "http://10.0.0.1"]);
        assert_eq!(map.check(), Vec::<String>::new());
        assert!(Map::default().origins().is_empty());
        for url in ["tiles.example.org", "https://", "https://a b/", "https://a;script-src *", "https://u:p@h/", "//h/"]
        {
            let map = Map { style_url: Some(url.into()), ..Map::default() };
            assert!(map.origins().is_empty(), "{url}");
            assert!(map.check().concat().contains("map.style_url"), "{url}");
        }
    }

    #[test]
    fn tiles_without_a_place_and_a_file_that_is_not_there_are_named() {
        let map = Map { raster_tiles: Some("https://h/{z}/{x}.png".into()), ..Map::default() };
        assert_eq!(map.check(), ["map.raster_tiles = https://h/{z}/{x}.png has no {y}"]);
        let map = Map { pmtiles: Some("/nowhere/x.pmtiles".into()), ..Map::default() };
        assert_eq!(
            map.find_file().map_err(|error| error.to_string()),
            Err("map.pmtiles = /nowhere/x.pmtiles is not a file".into())
        );
    }
}
