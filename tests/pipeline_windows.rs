//! Windows that take every so many sessions, and rolling features that look at nothing before the window: what they hold,
//! which rows they need, and that their fingerprints cover these.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use prometheus_embed::engine::numeric::{EntityRows, NumericModel, PriceSeries, Recipe};
use prometheus_embed::engine::random::SplitMix64;
use prometheus_embed::engine::{Day, Error};
use proptest::prelude::*;

const CHANNELS: [&str; 6] = [
    r#"{"feature": "realised_volatility", "days": 9}"#,
    r#"{"feature": "drawdown", "days": 14}"#,
    r#"{"feature": "range", "days": 4}"#,
    r#"{"feature": "amihud", "days": 6, "standardise": {"kind": "zscore"}}"#,
    r#"{"feature": "log_volume", "standardise": {"kind": "rms"}}"#,
    r#"{"feature": "log_price", "standardise": {"kind": "zscore"}}"#,
];

fn spec(channels: &[&str], every: usize, rolling: &str, layout: &str) -> String {
    format!(
        r#"{{"encoder": "pipeline", "price_column": "adjusted_close",
            "window": {{"min_fill": 0.01, "look_back": 2, "short_history": "mask", "max_gap_days": 10, "max_age_days": 10,
                        "every": {every}, "rolling": "{rolling}"}},
            "channels": [{}], "layout": "{layout}", "projection": {{"kind": "pad"}}, "dim": 1000, "normalise": "none"}}"#,
        channels.join(", ")
    )
}

fn model(spec: &str, window_days: i32) -> NumericModel {
    Recipe::from_json(spec).unwrap().model(window_days).unwrap()
}

/// Rows of consecutive days up to day `last`.
fn walk(rows: i32, last: i32, seed: u64) -> Vec<(i32, f64, f64)> {
    let (mut random, mut price) = (SplitMix64::new(seed), 40.0);
    let row = |day| {
        price *= (0.02 * random.next_gaussian()).exp();
        (day, price, 1e6 * (1.0 + random.next_open()))
    };
    (last - rows + 1..=last).map(row).collect()
}

/// Vector and fingerprint of the newest row's day.
fn made(model: &NumericModel, rows: &[(i32, f64, f64)]) -> (Vec<f32>, [u8; 16]) {
    let mut series = PriceSeries::new();
    rows.iter().for_each(|&(day, price, volume)| series.push(Day(day), price, volume).unwrap());
    let last = Day(rows.last().unwrap().0);
    let context = model.day(last, None, &Default::default()).unwrap();
    let entity = EntityRows::new(model, series, false).unwrap();
    let ready = entity.ready(last, &context).unwrap();
    let mut bytes = vec![0xAA; model.dim() * 4];
    entity.encode(&ready, &mut bytes);
    let vector = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (vector, entity.digest(&ready))
}

/// Fewest rows that are all that a vector can depend on.
fn needed(model: &NumericModel) -> usize {
    (1..1_000).find(|&rows| model.is_enough((rows, rows))).unwrap()
}

#[test]
fn every_third_day_is_a_third_of_the_days() {
    let rows = walk(200, 300, 1);
    let daily = &CHANNELS[..3];
    for (window, rolling) in [(40, "before"), (41, "before"), (42, "before"), (40, "inside")] {
        let (all, _) = made(&model(&spec(daily, 1, rolling, "newest_first"), window), &rows);
        let (third, _) = made(&model(&spec(daily, 3, rolling, "newest_first"), window), &rows);
        let days = (window as usize).div_ceil(3);
        for (lag, day) in third.chunks(3).take(days).enumerate() {
            assert_eq!(day, &all[lag * 9..lag * 9 + 3], "window {window}, day {lag}");
        }
        assert!(third[days * 3..].iter().all(|x| *x == 0.0));
    }
}

#[test]
fn layouts_put_the_same_days_elsewhere() {
    let rows = walk(200, 300, 2);
    let of = |layout| made(&model(&spec(&CHANNELS[..2], 4, "inside", layout), 30), &rows).0;
    let (newest, oldest, features) = (of("newest_first"), of("day_major"), of("feature_major"));
    let days = 8;
    for lag in 0..days {
        for channel in 0..2 {
            let value = newest[lag * 2 + channel];
            assert_eq!(oldest[(days - 1 - lag) * 2 + channel], value);
            assert_eq!(features[channel * days + lag], value);
        }
    }
    assert!(newest[0] != 0.0);
}

#[test]
fn inside_the_window_days_keep_their_value_or_have_none() {
    let rows = walk(200, 300, 3);
    let window = 30;
    let of = |rolling| made(&model(&spec(&CHANNELS[..3], 1, rolling, "newest_first"), window), &rows).0;
    let (before, inside) = (of("before"), of("inside"));
    for lag in 0..window as usize {
        for (channel, days) in [9, 14, 4].into_iter().enumerate() {
            let fits = lag + days <= window as usize;
            let expected = if fits { before[lag * 3 + channel] } else { 0.0 };
            assert_eq!(inside[lag * 3 + channel], expected, "day {lag}, channel {channel}");
        }
    }
}

#[test]
fn rows_of_the_window_and_the_one_before_are_enough_inside() {
    let all: Vec<&str> = CHANNELS.to_vec();
    assert_eq!(needed(&model(&spec(&all, 1, "inside", "newest_first"), 63)), 64);
    assert_eq!(needed(&model(&spec(&all, 1, "before", "newest_first"), 63)), 63 + 13);
    // Of 63 sessions the newest and every fifth before it: the oldest is the 61st.
    assert_eq!(needed(&model(&spec(&CHANNELS[4..], 5, "inside", "newest_first"), 63)), 61);
}

#[test]
fn a_feature_longer_than_the_window_has_no_value() {
    let spec = spec(&CHANNELS[..2], 1, "inside", "newest_first");
    let rows = walk(100, 300, 4);
    let (vector, _) = made(&model(&spec, 10), &rows);
    assert!(vector[..4].iter().step_by(2).all(|x| *x != 0.0), "two days of volatility over 9");
    assert!(vector[4..].iter().all(|x| *x == 0.0) && vector[1] == 0.0 && vector[3] == 0.0);
    // No day of volatility, and one, of which no vector is made.
    for (window, wrong) in [(8, "window.rolling"), (9, "window_days")] {
        match Recipe::from_json(&spec).unwrap().model(window) {
            Err(Error::InvalidSpec { key, .. }) => assert_eq!(key, wrong, "{window} days"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_window_with_one_day_of_its_own_is_refused_where_days_may_be_missing() {
    let daily = spec(&CHANNELS[4..], 3, "before", "newest_first");
    for (spec, window, fits) in [
        (daily.clone(), 3, false),
        (daily.clone(), 4, true),
        (daily.replace("\"mask\"", "\"fail\""), 3, true),
    ] {
        assert_eq!(Recipe::from_json(&spec).unwrap().model(window).is_ok(), fits, "{window} days: {spec}");
    }
}

#[test]
fn days_that_cannot_have_a_value_are_not_missing() {
    // Of 21 days the oldest is too near to the window's begin for the shortest feature.
    let model = model(&spec(&CHANNELS[..4], 3, "inside", "newest_first"), 63);
    let told = |rows: i32| {
        let mut series = PriceSeries::new();
        walk(rows, 300, 5)
            .iter()
            .for_each(|&(day, price, volume)| series.push(Day(day), price, volume).unwrap());
        let ready = EntityRows::new(&model, series, false).unwrap().latest().unwrap();
        (ready.rows(), ready.padded())
    };
    assert_eq!((told(64), told(200), told(34)), ((20, 0), (20, 0), (11, 9)));
}

#[test]
fn padding_repeats_the_oldest_value_and_counts_real_days() {
    for (every, layout) in [(1, "newest_first"), (3, "newest_first"), (1, "feature_major"), (3, "day_major")]
    {
        let mask = spec(&CHANNELS, every, "before", layout);
        let padded = mask.replace("mask", "pad");
        let (masks, pads) = (model(&mask, 30), model(&padded, 30));
        let mut rows = walk(20, 300, 6);
        rows[12].1 = f64::NAN;
        let (kept, _) = made(&masks, &rows);
        let (filled, _) = made(&pads, &rows);
        let days = 30usize.div_ceil(every);
        let at = |lag: usize, channel: usize| match layout {
            "newest_first" => lag * CHANNELS.len() + channel,
            "day_major" => (days - 1 - lag) * CHANNELS.len() + channel,
            _ => channel * days + lag,
        };
        for channel in 0..CHANNELS.len() {
            let values: Vec<f32> = (0..days).map(|lag| kept[at(lag, channel)]).collect();
            let oldest = values.iter().rposition(|x| *x != 0.0).unwrap();
            assert!(oldest + 1 < days, "the history is short");
            for (lag, value) in values.iter().enumerate() {
                let expected = if lag > oldest { values[oldest] } else { *value };
                assert_eq!(filled[at(lag, channel)], expected, "{layout}, channel {channel}, day {lag}");
            }
        }
        let whole = walk(120, 300, 6);
        assert_eq!(made(&masks, &whole).0, made(&pads, &whole).0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Rows that a vector does not need change neither it nor its fingerprint, and no row changes the vector without
    /// changing the fingerprint.
    #[test]
    fn fingerprints_cover_what_vectors_depend_on(
        chosen in prop::sample::subsequence(CHANNELS.to_vec(), 1..=CHANNELS.len()),
        // From 21 on two days can have a value whatever the other choices: a model asks for two at least.
        every in 1usize..8, inside in any::<bool>(), window in 21i32..50, seed in any::<u64>(),
        holes in prop::collection::hash_set(0usize..60, 0..6),
    ) {
        let rolling = if inside { "inside" } else { "before" };
        let model = model(&spec(&chosen, every, rolling, "newest_first"), window);
        let mut rows = walk(100, 300, seed);
        // Days without a usable price, but the newest has one.
        holes.iter().for_each(|hole| rows[98 - hole].1 = f64::NAN);
        let (vector, digest) = made(&model, &rows);
        let priced = |rows: &[(i32, f64, f64)]| rows.iter().filter(|row| !row.1.is_nan()).count();
        let first = (0..rows.len()).rev().find(|&at| model.is_enough((rows.len() - at, priced(&rows[at..])))).unwrap();
        prop_assert_eq!(made(&model, &rows[first..]), (vector.clone(), digest));
        for at in 0..rows.len() {
            let mut changed = rows.clone();
            changed[at].1 *= 1.5;
            changed[at].2 *= 1.25;
            let (other, of_other) = made(&model, &changed);
            prop_assert!(other == vector || of_other != digest, "row {}", at);
            prop_assert!(at >= first || (of_other == digest && other == vector), "row {}, first {}", at, first);
        }
    }
}
