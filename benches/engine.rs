//! The engine's kernels: similarities of one pair, a window from its series, v2 vectors from theirs, a projection.
//! Run with `cargo bench --no-default-features --features onnx --bench engine`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prometheus_embed::engine::Day;
use prometheus_embed::engine::linear::Matrix;
use prometheus_embed::engine::numeric::pipeline::Members;
use prometheus_embed::engine::numeric::{
    EntityRows, FeatureRows, MarketSums, NumericSpec, PriceSeries, Recipe, WindowModel,
};
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

const REGIME: &str = r#"{"encoder": "pipeline", "price_column": "adjusted_close",
    "window": {"min_fill": 0.5, "look_back": 2, "short_history": "mask", "max_gap_days": 10, "max_age_days": 10},
    "market": {"universe": {"kind": "prices"}, "shrink": 5},
    "channels": [{"feature": "log_return", "relative": "market_beta", "dispersion": true,
                  "standardise": {"kind": "rms"}, "clip": 2}],
    "layout": "newest_first", "projection": {"kind": "orthogonal", "seed": 1}, "dim": 384, "normalise": "l2"}"#;

const STAB: &str = r#"{"encoder": "pipeline", "price_column": "adjusted_close",
    "window": {"min_fill": 0.5, "look_back": 1.5, "short_history": "mask", "max_gap_days": 10, "max_age_days": 10,
               "every": 3, "rolling": "inside"},
    "channels": [
      {"feature": "realised_volatility", "days": 5, "standardise": {"kind": "reference", "center": -1.75, "scale": 0.7}, "clip": 3},
      {"feature": "drawdown", "days": 21, "standardise": {"kind": "reference", "center": -0.03, "scale": 0.06}, "clip": 3},
      {"feature": "range", "days": 10, "standardise": {"kind": "reference", "center": -3.1, "scale": 0.6}, "clip": 3},
      {"feature": "amihud", "days": 5, "standardise": {"kind": "zscore"}, "clip": 3, "weight": 0.5}],
    "layout": "newest_first", "projection": {"kind": "orthogonal", "seed": 1}, "dim": 384, "normalise": "l2"}"#;

/// Weekdays, with prices and volumes that differ from instrument to instrument.
fn prices(instrument: i32, days: std::ops::Range<i32>) -> PriceSeries {
    let mut series = PriceSeries::new();
    for day in days.filter(|day| day % 7 < 5) {
        let hash = f64::from((day * 7919 + instrument * 104_729) % 65_537);
        series.push(Day(day), 50.0 + hash / 6_553.6, 1e6 + hash * 16.0).unwrap();
    }
    series
}

fn encoders(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("v2 vectors");
    let mut sums = MarketSums::new();
    (0..30).for_each(|instrument| sums.add(&prices(instrument, 0..1_500), 10).unwrap());
    for (name, spec, window) in
        [("regime", REGIME, 63), ("regime", REGIME, 252), ("regime", REGIME, 504), ("stab", STAB, 63)]
    {
        let model = Recipe::from_json(spec).unwrap().model(window).unwrap();
        let days: Vec<Day> = (1_150..1_500).filter(|day| day % 7 < 5).map(Day).collect();
        let context = |&day: &Day| model.day(day, Some(&sums), &Members::default()).unwrap();
        let contexts: Vec<_> = days.iter().map(context).collect();
        let mut out = vec![0; DIM * 4];
        let mut encode = |rows: &EntityRows<'_>, date: usize| {
            let ready = rows.ready(days[date], &contexts[date]).unwrap();
            rows.encode(&ready, &mut out);
            rows.digest(&ready)
        };
        for count in [1, 2, days.len()] {
            let dates = days.len() - count..days.len();
            // What a backfill of these dates has read.
            let from = days[dates.start].0 - model.look_back_days() as i32;
            let series = prices(7, from..1_500);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(format!("{name}, {window} days, dates: {count}"), |bench| {
                bench.iter(|| {
                    let rows = EntityRows::new(&model, black_box(series.clone()), true).unwrap();
                    dates.clone().for_each(|date| {
                        black_box(encode(&rows, date));
                    })
                })
            });
        }
    }
    group.finish();
}

fn projections(criterion: &mut Criterion) {
    let (rows, cols, many) = (224, DIM, 32);
    let matrix = Matrix::orthogonal(rows, cols, 1).unwrap();
    let vectors: Vec<f64> = (0..many * cols).map(|i| (i as f64).sin()).collect();
    let mut out = vec![0.0; many * rows];
    let mut group = criterion.benchmark_group("384 dimensions to 224");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one vector", |bench| {
        bench.iter(|| matrix.times(black_box(&vectors[..cols]), &mut out[..rows]))
    });
    group.throughput(Throughput::Elements(many as u64));
    group.bench_function("32 vectors", |bench| {
        bench.iter(|| matrix.times_many(black_box(&vectors), &mut out))
    });
    group.finish();
}

criterion_group!(benches, similarities, windows, encoders, projections);
criterion_main!(benches);
