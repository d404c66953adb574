//! Times the hot steps by criterion: `cargo bench -p bench`.

mod cases;

use criterion::{Criterion, criterion_group, criterion_main};

fn hot_steps(criterion: &mut Criterion) {
    for (name, mut case) in cases::cases() {
        criterion.bench_function(name, |timer| timer.iter(&mut case));
    }
}

criterion_group!(benches, hot_steps);
criterion_main!(benches);
