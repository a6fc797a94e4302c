//! The engine's kernels: similarities of one pair, and a window from its series.
//! Run with `cargo bench --no-default-features --features onnx --bench engine`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prometheus_embed::engine::Day;
use prometheus_embed::engine::numeric::{FeatureRows, NumericSpec, PriceSeries, WindowModel};
use prometheus_embed::engine::simd;

const DIM: usize = 384;

fn vector(seed: f32) -> Vec<u8> {
    (0..DIM).flat_map(|i| (seed * i as f32).sin().to_le_bytes()).collect()
}

fn similarities(criterion: &mut Criterion) {
    let (a, b) = (vector(0.37), vector(0.11));
    let mut group = criterion.benchmark_group("similarity of 384 dimensions");
    group.throughput(Throughput::Bytes(2 * a.len() as u64));
    group.bench_function("products", |bench| bench.iter(|| simd::products(black_box(&a), black_box(&b))));
    group.bench_function("squared distance", |bench| {
        bench.iter(|| simd::squared_distance(black_box(&a), black_box(&b)))
    });
    // The floor: both vectors touched once.
    group.bench_function("count of values that are not finite", |bench| {
        bench.iter(|| simd::count_non_finite(black_box(&a)) + simd::count_non_finite(black_box(&b)))
    });
    group.finish();
}

fn windows(criterion: &mut Criterion) {
    let spec = r#"{"features": ["close", "volume", "log_return"], "price_column": "close",
        "window": {"min_fill": 0.87, "look_back": 3, "short_history": "repeat_last"},
        "encoder": "pad_to_dim", "dim": 384}"#;
    let model = WindowModel::new(NumericSpec::from_json(spec).unwrap(), 63).unwrap();
    let mut series = PriceSeries::new();
    for day in 0..1_500 {
        series.push(Day(day), 100.0 + f64::from(day % 97), 1e6 + f64::from(day)).unwrap();
    }
    let mut group = criterion.benchmark_group("windows of 63 days");
    group.throughput(Throughput::Elements(1_500));
    group.bench_function("features of 1500 days", |bench| {
        bench.iter(|| FeatureRows::new(&model, black_box(series.clone())).unwrap())
    });
    group.throughput(Throughput::Elements(1));
    let rows = FeatureRows::new(&model, series.clone()).unwrap();
    let mut out = vec![0; DIM * 4];
    group.bench_function("find, encode and digest one", |bench| {
        bench.iter(|| {
            let window = rows.window(black_box(Day(1_400))).unwrap();
            rows.encode(&window, &mut out);
            rows.digest(&window)
        })
    });
    group.finish();
}

criterion_group!(benches, similarities, windows);
criterion_main!(benches);
