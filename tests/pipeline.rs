//! What pipeline models promise, tried on made-up markets: a vector depends on the window's rows and on
//! nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use prometheus_embed::engine::numeric::pipeline::{DayContext, Members};
use prometheus_embed::engine::numeric::{EntityRows, MarketSums, NumericModel, PriceSeries, Recipe};
use prometheus_embed::engine::random::SplitMix64;
use prometheus_embed::engine::{Day, Error};

const REGIME: &str = r#"{"encoder": "pipeline", "price_column": "adjusted_close",
    "window": {"min_fill": 0.5, "look_back": 2, "short_history": "mask", "max_gap_days": 10, "max_age_days": 10},
    "market": {"universe": {"kind": "prices"}, "shrink": 5},
    "channels": [{"feature": "log_return", "relative": "market_beta", "dispersion": true,
                  "standardise": {"kind": "rms"}, "clip": 2}],
    "layout": "newest_first", "projection": {"kind": "orthogonal", "seed": 1}, "dim": 384, "normalise": "l2"}"#;

/// All rolling features, both window scalings, and more components than dimensions.
const STAB: &str = r#"{"encoder": "pipeline", "price_column": "adjusted_close",
    "window": {"min_fill": 0.5, "look_back": 2, "short_history": "mask", "max_gap_days": 10, "max_age_days": 10},
    "channels": [
      {"feature": "realised_volatility", "days": 21, "standardise": {"kind": "reference", "center": -1.4, "scale": 0.5}},
      {"feature": "drawdown", "days": 63, "standardise": {"kind": "reference", "center": -0.1, "scale": 0.15}, "clip": 3},
      {"feature": "range", "days": 21, "standardise": {"kind": "reference", "center": -2.3, "scale": 0.6}},
      {"feature": "amihud", "days": 21, "standardise": {"kind": "zscore"}, "clip": 3, "weight": 0.5},
      {"feature": "dollar_volume", "standardise": {"kind": "zscore"}},
      {"feature": "log_price", "standardise": {"kind": "none"}},
      {"feature": "abs_return", "standardise": {"kind": "rms"}},
      {"feature": "log_volume", "standardise": {"kind": "robust"}, "clip": 3, "weight": 0.5}],
    "layout": "newest_first", "projection": {"kind": "orthogonal", "seed": 1}, "dim": 64, "normalise": "l2"}"#;

/// The recipe of num-stab-core-v2: every third session, and rolling features that look at the window's rows only.
const CALM: &str = r#"{"encoder": "pipeline", "price_column": "adjusted_close",
    "window": {"min_fill": 0.5, "look_back": 1.5, "short_history": "mask", "max_gap_days": 10, "max_age_days": 10,
               "every": 3, "rolling": "inside"},
    "channels": [
      {"feature": "realised_volatility", "days": 5, "standardise": {"kind": "reference", "center": -1.75, "scale": 0.7}, "clip": 3},
      {"feature": "drawdown", "days": 21, "standardise": {"kind": "reference", "center": -0.03, "scale": 0.06}, "clip": 3},
      {"feature": "range", "days": 10, "standardise": {"kind": "reference", "center": -3.1, "scale": 0.6}, "clip": 3},
      {"feature": "amihud", "days": 5, "standardise": {"kind": "zscore"}, "clip": 3, "weight": 0.5}],
    "layout": "newest_first", "projection": {"kind": "orthogonal", "seed": 1}, "dim": 384, "normalise": "l2"}"#;

type Rows = Vec<(i32, f64, f64)>;

/// Random walks over business days 0.., one per instrument.
fn market(instruments: usize, days: i32, seed: u64) -> Vec<Rows> {
    let mut random = SplitMix64::new(seed);
    let business: Vec<i32> = (0..days).filter(|day| day % 7 < 5).collect();
    let common: Vec<f64> = business.iter().map(|_| 0.01 * random.next_gaussian()).collect();
    let walk = |random: &mut SplitMix64| {
        let mut price = 20.0 + 100.0 * random.next_open();
        let step = |(&day, shared): (&i32, &f64)| {
            price *= (shared + 0.02 * random.next_gaussian()).exp();
            (day, price, 1e5 * (1.0 + random.next_open()))
        };
        business.iter().zip(&common).map(step).collect()
    };
    (0..instruments).map(|_| walk(&mut random)).collect()
}

fn series(rows: &[(i32, f64, f64)]) -> PriceSeries {
    let mut series = PriceSeries::new();
    rows.iter().for_each(|&(day, price, volume)| series.push(Day(day), price, volume).unwrap());
    series.sort().unwrap();
    series
}

fn sums(model: &NumericModel, all: &[Rows]) -> Option<MarketSums> {
    model.universe()?;
    let mut sums = MarketSums::new();
    all.iter().for_each(|rows| sums.add(&series(rows), model.max_gap_days()).unwrap());
    Some(sums)
}

fn try_vector(
    spec: &str,
    window_days: i32,
    all: &[Rows],
    which: usize,
    as_of: i32,
) -> Result<Vec<f32>, Error> {
    let model = Recipe::from_json(spec)?.model(window_days)?;
    let context: DayContext = model.day(Day(as_of), sums(&model, all).as_ref(), &Members::default())?;
    let rows = EntityRows::new(&model, series(&all[which]), model.in_universe("any"))?;
    match rows.ready(Day(as_of), &context) {
        Ok(ready) => {
            let mut bytes = vec![0xAA; model.dim() * 4];
            rows.encode(&ready, &mut bytes);
            Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
        }
        Err(refused) => Err(refused.error),
    }
}

fn vector(spec: &str, window_days: i32, all: &[Rows], which: usize, as_of: i32) -> Vec<f32> {
    try_vector(spec, window_days, all, which, as_of).unwrap()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

#[test]
fn vectors_have_unit_length() {
    let all = market(8, 400, 1);
    for (spec, window) in [(REGIME, 63), (REGIME, 126), (STAB, 63), (CALM, 63), (CALM, 62), (CALM, 300)] {
        let norm: f64 = vector(spec, window, &all, 3, 350).iter().map(|x| f64::from(*x).powi(2)).sum();
        assert!((norm - 1.0).abs() < 1e-6, "squared norm {norm}");
    }
}

#[test]
fn later_rows_and_rows_before_the_read_range_change_no_bit() {
    let all = market(8, 700, 2);
    let as_of = 500;
    for (spec, window) in [(REGIME, 63), (STAB, 40), (CALM, 63)] {
        let model = Recipe::from_json(spec).unwrap().model(window).unwrap();
        let oldest = as_of - model.look_back_days() as i32;
        assert!(oldest > 50, "the test needs rows before the range");
        let known: Vec<Rows> = all
            .iter()
            .map(|rows| rows.iter().copied().filter(|row| (oldest..=as_of).contains(&row.0)).collect())
            .collect();
        for which in 0..all.len() {
            let bits = |v: Vec<f32>| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let (whole, cut) =
                (vector(spec, window, &all, which, as_of), vector(spec, window, &known, which, as_of));
            assert_eq!(bits(whole), bits(cut), "window {window}, instrument {which}");
        }
    }
}

#[test]
fn units_of_price_and_volume_and_splits_do_not_matter() {
    let all = market(8, 500, 3);
    let scaled: Vec<Rows> = all
        .iter()
        .zip(1..)
        .map(|(rows, k)| {
            rows.iter().map(|r| (r.0, r.1 * f64::from(k) * 0.37, r.2 * 1e4 / f64::from(k))).collect()
        })
        .collect();
    for (spec, window) in [(REGIME, 126), (STAB, 63), (CALM, 63)] {
        for which in 0..all.len() {
            let (a, b) = (vector(spec, window, &all, which, 450), vector(spec, window, &scaled, which, 450));
            assert!(distance(&a, &b) < 1e-6, "distance {}", distance(&a, &b));
        }
    }
}

#[test]
fn the_market_is_taken_out() {
    // Two instruments with the same residuals and different exposures to the market look the same.
    let mut all = market(40, 400, 4);
    let common: Vec<f64> = (0..all[0].len()).map(|i| (i as f64 * 0.7).sin() * 0.02).collect();
    let residual: Vec<f64> = (0..all[0].len()).map(|i| (i as f64 * 2.3).cos() * 0.01).collect();
    for rows in all.iter_mut().skip(2) {
        let mut level = 0.0;
        for (row, shared) in rows.iter_mut().zip(&common) {
            level += shared;
            row.1 = row.1.powf(0.02) * f64::exp(level);
        }
    }
    for (which, beta) in [(0, 0.5), (1, 1.5)] {
        let mut level = 3.0;
        for (row, (shared, own)) in all[which].iter_mut().zip(common.iter().zip(&residual)) {
            level += beta * shared + own;
            row.1 = f64::exp(level);
        }
    }
    let (a, b) = (vector(REGIME, 126, &all, 0, 390), vector(REGIME, 126, &all, 1, 390));
    let cosine: f32 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
    assert!(cosine > 0.98, "cosine {cosine}");
}

#[test]
fn short_history_is_zeros_at_the_old_end_and_missing_days_are_zero() {
    let mut all = market(5, 400, 5);
    let as_of = 390;
    let days: Vec<i32> = all[0].iter().map(|row| row.0).filter(|day| *day <= as_of).collect();
    // The last 41 rows give 40 returns; one row less in the middle leaves two days without one.
    all[0].retain(|row| row.0 > days[days.len() - 42]);
    let short = vector(REGIME, 63, &all, 0, as_of);
    assert!(short[..40].iter().all(|x| *x != 0.0) && short[40..].iter().all(|x| *x == 0.0));
    let hole = all[0].len() - 1 - all[0].iter().rev().position(|row| row.0 == days[days.len() - 11]).unwrap();
    all[0].remove(hole);
    let holed = vector(REGIME, 63, &all, 0, as_of);
    assert_eq!(holed.iter().filter(|x| **x == 0.0).count(), 384 - 39);
    assert_eq!(holed[10], 0.0);
}

#[test]
fn what_cannot_be_embedded_says_why() {
    let all = market(4, 400, 6);
    let why = |rows: Rows, as_of: i32| {
        let mut all = all.clone();
        all[0] = rows;
        try_vector(REGIME, 63, &all, 0, as_of).unwrap_err().to_string()
    };
    let of_day = |rows: &Rows, last: i32| rows.iter().copied().filter(|r| r.0 <= last).collect::<Rows>();
    let rows = all[0].clone();
    assert_eq!(
        why(Vec::new(), 390),
        "need at least 31 of 63 days with a usable price in 2000-08-22..2001-01-25, found 0"
    );
    assert_eq!(
        why(of_day(&rows, 370), 390),
        "last usable price is of 2001-01-03, more than 10 days before 2001-01-25"
    );
    let few: Rows = rows.iter().copied().filter(|r| r.0 > 365).collect();
    assert!(why(few, 390).starts_with("need at least 31 of 63 days"));
    let bad: Rows = rows.iter().map(|r| (r.0, if r.0 % 2 == 0 { f64::NAN } else { -1.0 }, r.2)).collect();
    assert!(why(bad, 390).ends_with("found 0"));
    let flat: Vec<Rows> = all.iter().map(|rows| rows.iter().map(|r| (r.0, 7.0, r.2)).collect()).collect();
    let flat = try_vector(REGIME, 63, &flat, 1, 390).unwrap_err().to_string();
    assert_eq!(flat, "prices do not move: every component would be 0");
}

#[test]
fn models_with_a_market_need_one() {
    let model = Recipe::from_json(REGIME).unwrap().model(63).unwrap();
    let rows = EntityRows::new(&model, series(&market(1, 300, 7)[0]), false).unwrap();
    assert_eq!(rows.latest().unwrap_err().error, Error::NeedsMarket);
    let model = Recipe::from_json(STAB).unwrap().model(63).unwrap();
    let rows = EntityRows::new(&model, series(&market(1, 300, 7)[0]), false).unwrap();
    assert!(rows.latest().is_ok());
}

#[test]
fn a_long_window_keeps_angles_about() {
    // 252 components in 128 dimensions: cosines of the projection stay near those of the whole.
    let whole = REGIME.to_owned();
    let projected = whole.replace("\"dim\": 384", "\"dim\": 128");
    let all = market(12, 700, 8);
    let cosine = |spec: &str, a, b| -> f32 {
        let (x, y) = (vector(spec, 252, &all, a, 650), vector(spec, 252, &all, b, 650));
        x.iter().zip(&y).map(|(p, q)| p * q).sum()
    };
    for b in 1..12 {
        let (exact, near) = (cosine(&whole, 0, b), cosine(&projected, 0, b));
        assert!((exact - near).abs() < 0.25, "{exact} became {near}");
    }
}

#[test]
fn specs_are_validated_to_the_last_key() {
    for (from, to, key) in [
        ("\"min_fill\": 0.5", "\"min_fill\": 0", "window.min_fill"),
        ("\"look_back\": 2", "\"look_back\": 31", "window.look_back"),
        ("\"max_gap_days\": 10", "\"max_gap_days\": 0", "window.max_gap_days"),
        ("\"max_gap_days\": 10", "\"max_gap_days\": 10, \"every\": 0", "window.every"),
        ("\"max_gap_days\": 10", "\"max_gap_days\": 10, \"every\": 253", "window.every"),
        ("\"max_gap_days\": 10", "\"max_gap_days\": 10, \"every\": 2", "window.every"),
        ("\"max_gap_days\": 10", "\"max_gap_days\": 10, \"every\": -1", "spec"),
        ("\"max_gap_days\": 10", "\"max_gap_days\": 10, \"rolling\": \"outside\"", "spec"),
        ("\"max_age_days\": 10", "\"max_age_days\": 367", "window.max_age_days"),
        ("\"shrink\": 5", "\"shrink\": -1", "market.shrink"),
        ("{\"kind\": \"prices\"}", "{\"kind\": \"instruments\", \"ids\": []}", "market.universe.ids"),
        ("{\"kind\": \"prices\"}", "{\"kind\": \"rows\"}", "spec"),
        ("{\"kind\": \"rms\"}", "{\"kind\": \"rms\", \"x\": 1}", "spec"),
        (
            "{\"kind\": \"rms\"}",
            "{\"kind\": \"reference\", \"center\": 0, \"scale\": 0}",
            "channels[0].standardise.scale",
        ),
        ("\"clip\": 2", "\"clip\": 0", "channels[0].clip"),
        ("\"clip\": 2", "\"clip\": 2, \"weight\": -1", "channels[0].weight"),
        ("\"log_return\"", "\"log_volume\"", "channels[0].dispersion"),
        ("\"log_return\"", "\"drawdown\"", "channels[0].days"),
        ("\"log_return\",", "\"log_return\", \"days\": 5,", "channels[0].days"),
        ("\"market\": {\"universe\": {\"kind\": \"prices\"}, \"shrink\": 5},", "", "channels[0].dispersion"),
        ("\"relative\": \"market_beta\", \"dispersion\": true,", "", "market"),
        ("\"dim\": 384", "\"dim\": 0", "dim"),
        ("newest_first", "sideways", "spec"),
        ("\"normalise\": \"l2\"", "\"normalise\": \"l2\", \"extra\": 1", "spec"),
    ] {
        assert!(REGIME.contains(from), "{from}");
        match Recipe::from_json(&REGIME.replacen(from, to, 1)) {
            Err(Error::InvalidSpec { key: found, .. }) => assert_eq!(found, key, "{to}"),
            other => panic!("{to} gave {other:?}"),
        }
    }
    let pad = REGIME.replace(r#"{"kind": "orthogonal", "seed": 1}"#, r#"{"kind": "pad"}"#);
    assert!(Recipe::from_json(&pad).unwrap().model(384).is_ok());
    let cut = Recipe::from_json(&pad).unwrap().model(385);
    assert!(matches!(cut, Err(Error::InvalidSpec { key, .. }) if key == "projection.kind"));
}
