//! What is fuzzed: each target takes any bytes, must not panic, and asserts what the engine promises of them.
#![allow(dead_code, clippy::unwrap_used)]

use prometheus_embed::engine::joint::space::{EntityType, Space};
use prometheus_embed::engine::named::{NamedSpec, encode};
use prometheus_embed::engine::numeric::listing::json_numbers;

use prometheus_embed::engine::numeric::{EntityRows, MarketSums, MovingSeries, PriceSeries, Recipe};
use prometheus_embed::engine::registry::Manifest;
use prometheus_embed::engine::search::TopK;
use prometheus_embed::engine::vector::{self, VectorRef};
use prometheus_embed::engine::{Day, registry};

/// Every target by the name of its corpus.
pub const TARGETS: [(&str, fn(&[u8])); 7] = [
    ("vector", vector),
    ("spec", spec),
    ("features", features),
    ("manifest", manifest),
    ("state", state),
    ("window", window),
    ("space", space),
];

/// Bytes as a stored vector, and as two halves that are compared.
pub fn vector(data: &[u8]) {
    let Ok(whole) = VectorRef::new(data) else {
        assert!(data.is_empty() || !data.len().is_multiple_of(4) || data.len() / 4 > vector::MAX_DIM);
        return;
    };
    assert_eq!(whole.dim() * 4, data.len());
    assert_eq!(whole.values().filter(|x| !x.is_finite()).count(), whole.count_non_finite());
    let mut out = vec![0; data.len()];
    vector::write_values(whole.values(), &mut out);
    let same = whole
        .values()
        .zip(VectorRef::new(&out).unwrap().values())
        .all(|(a, b)| a == b || a.is_nan() && b.is_nan());
    assert!(same);
    if vector::l2_normalize(whole, &mut out).is_ok() {
        assert_eq!(whole.count_non_finite(), 0);
        let norm = VectorRef::new(&out).unwrap().l2_norm();
        assert!(norm == 0.0 || (norm - 1.0).abs() < 1e-3, "{norm}");
    }
    let (a, b) = data.split_at(data.len() / 2);
    if let (Ok(a), Ok(b)) = (VectorRef::new(a), VectorRef::new(b)) {
        if let Ok(cosine) = vector::cosine_similarity(a, b) {
            assert!(cosine.is_nan() || (-1.0..=1.0).contains(&cosine), "{cosine}");
            assert_eq!(cosine.to_bits(), vector::cosine_similarity(b, a).unwrap().to_bits());
        }
        let _ = (vector::dot_product(a, b), vector::euclidean_distance(a, b));
    }
}

/// Text as the recipe of a numeric model, which then encodes a short series.
pub fn spec(data: &[u8]) {
    let Some(recipe) = std::str::from_utf8(data).ok().and_then(|json| Recipe::from_json(json).ok()) else {
        return;
    };
    for days in [1, 5, 63] {
        let Ok(model) = recipe.model(days) else { continue };
        // A larger one is right, but spends its time on projections.
        if model.dim() > 512 {
            continue;
        }
        let mut series = PriceSeries::new();
        for day in 0..40 {
            series.push(Day(day), 100.0 + f64::from(day % 7), f64::from(day)).unwrap();
        }
        let rows = EntityRows::new(&model, series, true).unwrap();
        if let Ok(ready) = rows.latest() {
            let mut out = vec![0; 4 * model.dim()];
            rows.encode(&ready, &mut out);
        }
    }
}

const NAMED: &str = r#"{"encoder": "named", "slots": 4, "seed": 1, "dim": 32, "normalise": "l2", "blocks": [
    {"name": "a", "columns": ["x", "y"], "weight": 1, "clip": 3, "concentration": true,
     "features": {"k": {"transform": "log", "center": 0, "scale": 1}},
     "others": {"transform": "signed_log", "center": 0, "scale": 10}},
    {"name": "b", "columns": ["z"], "weight": 0.5, "normalise": "l2",
     "others": {"transform": "asinh", "center": 0, "scale": 1}}]}"#;

/// Text as a row of named features, and as a list of numbers.
pub fn features(data: &[u8]) {
    let Ok(json) = std::str::from_utf8(data) else { return };
    let _ = json_numbers(json);
    let Ok(row) = serde_json::from_str(json) else { return };
    let spec = NamedSpec::from_json(NAMED).unwrap();
    let mut out = vec![0; 4 * spec.dim];
    if encode(&spec, &row, &mut out).is_ok() {
        assert_eq!(VectorRef::new(&out).unwrap().count_non_finite(), 0);
    }
}

/// Bytes as a manifest, and as the recipe of a text model.
pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::from_json(data, "m") {
        assert!((1..=vector::MAX_DIM).contains(&manifest.dim));
        for entry in &manifest.files {
            assert!(!entry.name.contains(['/', '\0']) && entry.name != "..", "{:?}", entry.name);
        }
        let _ = (manifest.bytes(), manifest.file("model.onnx"));
    }
    if let Some(recipe) =
        std::str::from_utf8(data).ok().and_then(|json| registry::Recipe::from_json(json).ok())
    {
        let _ = (recipe.to_json().unwrap(), recipe.spec("m"));
    }
}

/// Bytes as the states that parallel workers hand over. What is believed must come out again as it went in.
pub fn state(data: &[u8]) {
    if let Ok(mut series) = PriceSeries::unpack(data) {
        let mut out = vec![0; series.packed_len()];
        series.pack(&mut out);
        assert_eq!(out, data);
        let other = series.clone();
        let _ = (series.append(&other), series.sort(), series.latest(5));
    }
    if let Ok(mut sums) = MarketSums::unpack(data) {
        assert_eq!(sums.pack(), data);
        let other = sums.clone();
        let _ = (sums.merge(&other), sums.window(Day(i32::MIN), Day(i32::MAX), 100, 5.0));
    }
    if let Ok(mut list) = TopK::unpack(data) {
        let mut out = vec![0; list.packed_len()];
        list.pack(&mut out);
        let again = TopK::unpack(&out).unwrap();
        let _ = list.merge(&again);
        let _ = (list.left_out().total(), list.into_sorted());
    }
}

/// Bytes as rows that join and leave a frame, 18 each, after a window length; then as windows of models.
pub fn window(data: &[u8]) {
    let Some((&[days, model], rows)) = data.split_first_chunk::<2>() else { return };
    let days = usize::from(days % 70) + 1;
    let (mut moving, mut series, mut frame) = (MovingSeries::new(), PriceSeries::new(), Vec::new());
    for row in rows.chunks_exact(18).take(300) {
        let day = i32::from(i16::from_le_bytes([row[0], row[1]]));
        let day = Day(if row[0] == 255 { day.wrapping_mul(1 << 16) } else { day });
        let price = f64::from_le_bytes(row[2..10].try_into().unwrap());
        let volume = f64::from_le_bytes(row[10..18].try_into().unwrap());
        if series.push(day, price, volume).is_ok() && moving.join(day, price, volume, days).is_ok() {
            frame.push((day, price, volume));
        }
        if row[1] % 4 == 3 && !frame.is_empty() {
            let (day, price, volume) = frame.remove(0);
            assert!(moving.leave(day, price, volume));
        }
    }
    // Whatever joined and left, the frame is the series of the rows that are in it.
    let mut direct = PriceSeries::new();
    for &(day, price, volume) in &frame {
        direct.push(day, price, volume).unwrap();
    }
    assert_eq!(moving.latest(days).map(packed).ok(), direct.latest(days).map(packed).ok());
    let _ = MarketSums::new().add(&series, 10);
    let recipe = Recipe::from_json(MODELS[usize::from(model) % MODELS.len()]).unwrap();
    let model = recipe.model(days as i32).unwrap();
    if series.sort().is_ok() {
        let rows = EntityRows::new(&model, series, true).unwrap();
        if let Ok(ready) = rows.latest() {
            let mut out = vec![0; 4 * model.dim()];
            rows.encode(&ready, &mut out);
        }
    }
}

fn packed(series: PriceSeries) -> Vec<u8> {
    let mut out = vec![0; series.packed_len()];
    series.pack(&mut out);
    out
}

const MODELS: [&str; 3] = [
    r#"{"features": ["close", "volume", "log_return"], "price_column": "close",
        "window": {"min_fill": 0.87, "look_back": 3, "short_history": "repeat_last"}, "encoder": "pad_to_dim", "dim": 384}"#,
    r#"{"features": ["close", "volume", "log_return"], "price_column": "close",
        "window": {"min_fill": 0.87, "look_back": 3, "short_history": "repeat_last"}, "encoder": "flatten"}"#,
    r#"{"encoder": "pipeline", "price_column": "adjusted_close",
        "window": {"min_fill": 0.1, "look_back": 2, "short_history": "mask", "max_gap_days": 10, "max_age_days": 10},
        "channels": [
          {"feature": "realised_volatility", "days": 5, "standardise": {"kind": "reference", "center": -1.4, "scale": 0.5}, "clip": 3},
          {"feature": "drawdown", "days": 9, "standardise": {"kind": "zscore"}, "clip": 3},
          {"feature": "range", "days": 5, "standardise": {"kind": "robust"}, "clip": 3},
          {"feature": "log_volume", "standardise": {"kind": "rms"}, "weight": 0.5}],
        "layout": "newest_first", "projection": {"kind": "orthogonal", "seed": 1}, "dim": 16, "normalise": "l2"}"#,
];

/// A byte that chooses, the text of a space's branches up to a zero byte, then bytes of vectors.
pub fn space(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let (json, bytes) = rest.split_at(rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len()));
    let kinds = ["ISSUER", "INSTRUMENT", "PORTFOLIO", "SCENARIO"];
    let entity_type = EntityType::parse(kinds[usize::from(choice % 4)]).unwrap();
    let fusions = ["average", "blend", "identity", "concat"];
    let fusion = serde_json::from_value(fusions[usize::from(choice / 4 % 4)].into()).unwrap();
    let Some(json) = std::str::from_utf8(json).ok() else { return };
    let Ok(space) = Space::from_json(entity_type, fusion, json) else { return };
    let leaves = space.leaves().len();
    assert!(leaves <= 32, "the leaves of a space are bits of a mask");
    let step = (bytes.len() / leaves.max(1)).clamp(4, 64) & !3;
    let mut parts = bytes.chunks(step);
    let vectors: Vec<_> = (0..leaves).map(|_| parts.next().filter(|part| part[0] != 1)).collect();
    if let Ok(Some(fused)) = space.fuse(&vectors) {
        assert_eq!(space.names(fused.used).len(), fused.used.count_ones() as usize);
    }
    let _ = space.digest(&vectors);
}
