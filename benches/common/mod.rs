//! A measurement, as the benchmarks of single parts take it.

use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, measurement::WallTime};

/// Measures `round`, which says how long that of it took which counts. Gives ns for each of `count` elements or bytes: the
/// median of the rounds.
pub fn measure(
    criterion: &mut Criterion,
    (group, name): (&str, &str),
    (throughput, count): (fn(u64) -> Throughput, u64),
    mut round: impl FnMut() -> Duration,
) -> f64 {
    let mut group = criterion.benchmark_group(group);
    quick(&mut group).throughput(throughput(count));
    let mut all_ns = Vec::new();
    group.bench_function(name, |bench| {
        bench.iter_custom(|rounds| {
            let mut one = || {
                let spent = round();
                all_ns.push(spent.as_nanos() as f64 / count as f64);
                spent
            };
            (0..rounds).map(|_| one()).sum()
        });
    });
    all_ns.sort_unstable_by(f64::total_cmp);
    all_ns.get(all_ns.len() / 2).copied().unwrap_or(f64::NAN)
}

/// There are many of them, and what does not count of a round takes its time, too.
fn quick<'a, 'b>(group: &'a mut BenchmarkGroup<'b, WallTime>) -> &'a mut BenchmarkGroup<'b, WallTime> {
    let (warm_up, measurement) = (Duration::from_millis(200), Duration::from_millis(500));
    group.sample_size(10).sampling_mode(SamplingMode::Flat).warm_up_time(warm_up).measurement_time(measurement)
}
