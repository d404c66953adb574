//! Real cities and the roads between them: the map the fleet drives on. Fed by nobody, feeds the journey. Roads are
//! listed rather than computed from distances, so that no lorry crosses the Baltic on its own wheels.

use std::sync::LazyLock;

use crate::geo::Point;

/// A city and where it lies (degrees).
type City = (&'static str, f64, f64);

#[rustfmt::skip]
const CITIES: &[City] = &[
    ("Amsterdam", 52.373, 4.893), ("Antwerp", 51.220, 4.403), ("Athens", 37.984, 23.728), ("Atlanta", 33.749, -84.388),
    ("Barcelona", 41.387, 2.170), ("Belgrade", 44.787, 20.457), ("Berlin", 52.520, 13.405), ("Bilbao", 43.263, -2.935),
    ("Birmingham", 52.486, -1.890), ("Bologna", 44.494, 11.343),
    ("Bordeaux", 44.838, -0.579), ("Boston", 42.360, -71.058),
    ("Bratislava", 48.149, 17.107), ("Brussels", 50.850, 4.352),
    ("Bucharest", 44.427, 26.103), ("Budapest", 47.498, 19.040),
    ("Chicago", 41.878, -87.630), ("Cologne", 50.938, 6.960),
    ("Copenhagen", 55.676, 12.568), ("Dallas", 32.777, -96.797),
    ("Denver", 39.739, -104.990), ("Dublin", 53.350, -6.260),
    ("Edinburgh", 55.953, -3.188), ("Frankfurt", 50.110, 8.682),
    ("Gdansk", 54.352, 18.647), ("Geneva", 46.204, 6.143), ("Gothenburg", 57.709, 11.975), ("Hamburg", 53.551, 9.993),
    ("Hanover", 52.376, 9.732), ("Helsinki", 60.170, 24.938),
    ("Houston", 29.760, -95.370), ("Johannesburg", -26.204, 28.047),
    ("Krakow", 50.065, 19.945), ("Kyoto", 35.012, 135.768), ("Leeds", 53.801, -1.549), ("Leipzig", 51.340, 12.375),
    ("Lille", 50.629, 3.057), ("Limerick", 52.664, -8.627), ("Lisbon", 38.722, -9.139), ("Ljubljana", 46.057, 14.506),
    ("London", 51.507, -0.128), ("Lyon", 45.764, 4.836), ("Madrid", 40.417, -3.704), ("Malmo", 55.605, 13.004),
    ("Marseille", 43.297, 5.370), ("Melbourne", -37.814, 144.963),
    ("Milan", 45.464, 9.190), ("Montreal", 45.502, -73.567),
    ("Munich", 48.137, 11.575), ("Nantes", 47.218, -1.554), ("Naples", 40.852, 14.268), ("New York", 40.713, -74.006),
    ("Nuremberg", 49.452, 11.077), ("Oslo", 59.914, 10.752),
    ("Paris", 48.857, 2.352), ("Philadelphia", 39.953, -75.165),
    ("Porto", 41.158, -8.629), ("Poznan", 52.406, 16.925), ("Prague", 50.076, 14.438), ("Pretoria", -25.747, 28.229),
    ("Rio de Janeiro", -22.907, -43.173), ("Rome", 41.903, 12.496),
    ("Rotterdam", 51.924, 4.478), ("Sao Paulo", -23.551, -46.633),
    ("Seville", 37.389, -5.984), ("Sofia", 42.698, 23.322),
    ("Stockholm", 59.329, 18.069), ("Strasbourg", 48.573, 7.752),
    ("Stuttgart", 48.776, 9.183), ("Sydney", -33.869, 151.209),
    ("Tampere", 61.498, 23.761), ("Thessaloniki", 40.640, 22.944),
    ("Tokyo", 35.682, 139.759), ("Toronto", 43.653, -79.383), ("Toulouse", 43.605, 1.444), ("Trieste", 45.649, 13.777),
    ("Turin", 45.070, 7.687), ("Turku", 60.452, 22.267), ("Valencia", 39.470, -0.376), ("Venice", 45.440, 12.316),
    ("Vienna", 48.208, 16.373), ("Warsaw", 52.230, 21.012), ("Washington", 38.907, -77.037), ("Zagreb", 45.815, 15.982),
    ("Zurich", 47.377, 8.541),
];

#[rustfmt::skip]
const ROADS: &[(&str, &str)] = &[
    ("Amsterdam", "Rotterdam"), ("Amsterdam", "Cologne"), ("Amsterdam", "Hanover"), ("Rotterdam", "Antwerp"),
    ("Antwerp", "Brussels"), ("Brussels", "Lille"), ("Brussels", "Cologne"), ("Lille", "Paris"), ("Lille", "London"),
    ("London", "Birmingham"), ("Birmingham", "Leeds"), ("Leeds", "Edinburgh"), ("Dublin", "Limerick"),
    ("Paris", "Nantes"), ("Paris", "Lyon"), ("Paris", "Strasbourg"), ("Nantes", "Bordeaux"), ("Bordeaux", "Toulouse"),
    ("Bordeaux", "Bilbao"), ("Toulouse", "Barcelona"), ("Lyon", "Marseille"), ("Lyon", "Geneva"), ("Lyon", "Turin"),
    ("Marseille", "Barcelona"), ("Barcelona", "Valencia"), ("Valencia", "Madrid"), ("Bilbao", "Madrid"),
    ("Madrid", "Seville"), ("Madrid", "Lisbon"), ("Lisbon", "Porto"), ("Seville", "Lisbon"), ("Geneva", "Zurich"),
    ("Zurich", "Milan"), ("Zurich", "Stuttgart"), ("Zurich", "Munich"), ("Turin", "Milan"), ("Milan", "Bologna"),
    ("Bologna", "Venice"), ("Bologna", "Rome"), ("Rome", "Naples"), ("Venice", "Trieste"), ("Trieste", "Ljubljana"),
    ("Ljubljana", "Zagreb"), ("Zagreb", "Belgrade"), ("Belgrade", "Sofia"), ("Belgrade", "Budapest"),
    ("Sofia", "Thessaloniki"), ("Sofia", "Bucharest"), ("Thessaloniki", "Athens"), ("Budapest", "Bratislava"),
    ("Bratislava", "Vienna"), ("Vienna", "Ljubljana"), ("Vienna", "Prague"),
    ("Vienna", "Munich"), ("Munich", "Nuremberg"),
    ("Munich", "Stuttgart"), ("Stuttgart", "Strasbourg"), ("Stuttgart", "Frankfurt"), ("Frankfurt", "Nuremberg"),
    ("Frankfurt", "Cologne"), ("Frankfurt", "Hanover"), ("Nuremberg", "Leipzig"), ("Nuremberg", "Prague"),
    ("Prague", "Leipzig"), ("Leipzig", "Berlin"), ("Berlin", "Hanover"), ("Berlin", "Hamburg"), ("Berlin", "Poznan"),
    ("Hanover", "Hamburg"), ("Hamburg", "Copenhagen"), ("Copenhagen", "Malmo"), ("Malmo", "Gothenburg"),
    ("Malmo", "Stockholm"), ("Gothenburg", "Oslo"), ("Gothenburg", "Stockholm"), ("Oslo", "Stockholm"),
    ("Poznan", "Warsaw"), ("Poznan", "Gdansk"), ("Gdansk", "Warsaw"), ("Warsaw", "Krakow"), ("Krakow", "Bratislava"),
    ("Helsinki", "Tampere"), ("Helsinki", "Turku"), ("Turku", "Tampere"), ("Boston", "New York"),
    ("New York", "Philadelphia"), ("Philadelphia", "Washington"), ("New York", "Montreal"), ("Montreal", "Toronto"),
    ("Toronto", "Chicago"), ("Washington", "Atlanta"), ("Atlanta", "Dallas"),
    ("Dallas", "Houston"), ("Dallas", "Denver"),
    ("Chicago", "Atlanta"), ("Tokyo", "Kyoto"), ("Sydney", "Melbourne"), ("Johannesburg", "Pretoria"),
    ("Sao Paulo", "Rio de Janeiro"),
];

/// The map, ready to be driven on: every city's place and the cities one road away.
pub struct Atlas {
    places: Vec<Point>,
    neighbours: Vec<Vec<usize>>,
}

/// The one map everybody drives on.
pub static ATLAS: LazyLock<Atlas> = LazyLock::new(Atlas::build);

impl Atlas {
    fn build() -> Self {
        let places = CITIES.iter().map(|&(_, lat, lon)| Point { lat, lon }).collect();
        let mut neighbours = vec![Vec::new(); CITIES.len()];
        for (from, to) in ROADS {
            if let (Some(from), Some(to)) = (index_of(from), index_of(to)) {
                neighbours[from].push(to);
                neighbours[to].push(from);
            }
        }
        Self { places, neighbours }
    }

    /// How many cities there are; never 0.
    pub fn cities(&self) -> usize {
        self.places.len()
    }

    pub fn place(&self, city: usize) -> Point {
        self.places[city]
    }

    /// The cities one road away from `city`; never empty.
    pub fn neighbours(&self, city: usize) -> &[usize] {
        &self.neighbours[city]
    }
}

fn index_of(name: &str) -> Option<usize> {
    CITIES.iter().position(|city| city.0 == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_road_joins_two_known_cities_within_a_days_drive() {
        for (from, to) in ROADS {
            let ends = (index_of(from), index_of(to));
            let (Some(from_index), Some(to_index)) = ends else { panic!("unknown city in {from} - {to}") };
            let km = ATLAS.place(from_index).distance_m(ATLAS.place(to_index)) / 1000.0;
            assert!((20.0..1_300.0).contains(&km), "{from} - {to} is {km:.0} km");
        }
    }

    #[test]
    fn every_city_has_a_road_and_a_place_on_earth() {
        for (index, (name, lat, lon)) in CITIES.iter().enumerate() {
            assert!(!ATLAS.neighbours(index).is_empty(), "{name} has no road");
            assert!(lat.abs() < 90.0 && lon.abs() < 180.0, "{name}");
        }
    }
}
