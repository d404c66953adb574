//! Geometry on the globe: distance, heading and the point part-way along a great circle. Fed by the atlas, feeds the
//! journey. A sphere is exact enough here: the error of 0.5 % is smaller than any bend of a real road.

/// Mean radius of the earth in metres.
const EARTH_M: f64 = 6_371_000.0;

/// A place in WGS 84 degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub lat: f64,
    pub lon: f64,
}

impl Point {
    /// Distance to `other` in metres.
    pub fn distance_m(self, other: Point) -> f64 {
        EARTH_M * self.angle(other)
    }

    /// Heading towards `other` at this point, degrees clockwise from north, in [0, 360).
    pub fn heading_deg(self, other: Point) -> f64 {
        let (lat1, lat2) = (self.lat.to_radians(), other.lat.to_radians());
        let lon = (other.lon - self.lon).to_radians();
        let east = lon.sin() * lat2.cos();
        let north = lat1.cos() * lat2.sin() - lat1.sin() * lat2.cos() * lon.cos();
        east.atan2(north).to_degrees().rem_euclid(360.0)
    }

    /// The point at `share` (0 to 1) of the way to `other`.
    pub fn towards(self, other: Point, share: f64) -> Point {
        let angle = self.angle(other);
        if angle < 1e-9 {
            return self;
        }
        let (from, to) = (((1.0 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin());
        let (a, b) = (self.unit_vector(), other.unit_vector());
        let [x, y, z] = [0, 1, 2].map(|i| from * a[i] + to * b[i]);
        Point { lat: z.atan2(x.hypot(y)).to_degrees(), lon: y.atan2(x).to_degrees() }
    }

    /// Angle seen from the earth's centre, in radians (haversine: exact for short distances too).
    fn angle(self, other: Point) -> f64 {
        let (lat1, lat2) = (self.lat.to_radians(), other.lat.to_radians());
        let (dlat, dlon) = (lat2 - lat1, (other.lon - self.lon).to_radians());
        let h = (dlat / 2.0).sin().powi(2) + lat1.cos() * lat2.cos() * (dlon / 2.0).sin().powi(2);
        2.0 * h.sqrt().min(1.0).asin()
    }

    fn unit_vector(self) -> [f64; 3] {
        let (lat, lon) = (self.lat.to_radians(), self.lon.to_radians());
        [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: Point = Point { lat: 52.52, lon: 13.405 };
    const MUNICH: Point = Point { lat: 48.137, lon: 11.575 };

    #[test]
    fn berlin_to_munich_is_504_km_south() {
        assert!((BERLIN.distance_m(MUNICH) - 504_000.0).abs() < 2_000.0);
        assert!((190.0..200.0).contains(&BERLIN.heading_deg(MUNICH)));
    }

    #[test]
    fn the_middle_is_equally_far_from_both_ends() {
        let middle = BERLIN.towards(MUNICH, 0.5);
        assert!((middle.distance_m(BERLIN) - middle.distance_m(MUNICH)).abs() < 1.0);
        assert!(BERLIN.towards(MUNICH, 0.0).distance_m(BERLIN) < 0.1);
        assert!(BERLIN.towards(MUNICH, 1.0).distance_m(MUNICH) < 0.1);
    }
}
