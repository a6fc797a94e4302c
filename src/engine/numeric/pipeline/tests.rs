//! Vectors do not depend on the instruction set that their loops are compiled for.

use super::super::super::day::Day;
use super::super::super::random::SplitMix64;
use super::super::market::MarketSums;
use super::super::series::PriceSeries;
use super::*;

const CHANNELS: [&str; 5] = [
    r#"{"feature": "log_return", "relative": "market_beta", "dispersion": true, "standardise": {"kind": "rms"}, "clip": 2}"#,
    r#"{"feature": "log_return", "relative": "market", "standardise": {"kind": "robust"}, "clip": 3}"#,
    r#"{"feature": "realised_volatility", "days": 21, "standardise": {"kind": "reference", "center": -1.4, "scale": 0.5}}"#,
    r#"{"feature": "amihud", "days": 5, "standardise": {"kind": "zscore"}, "weight": 0.5}"#,
    r#"{"feature": "range", "days": 9, "standardise": {"kind": "none"}}"#,
];

/// Weekdays, some of them missing or without a price.
fn series(random: &mut SplitMix64, gaps: bool) -> PriceSeries {
    let (mut series, mut price) = (PriceSeries::new(), 50.0);
    for day in (0..500).filter(|day| day % 7 < 5) {
        price *= (0.02 * random.next_gaussian()).exp();
        match random.next_u64() % 40 {
            0 if gaps => {}
            1 if gaps => series.push(Day(day), f64::NAN, 1e6).unwrap(),
            _ => series.push(Day(day), price, 1e6 * (1.0 + random.next_gaussian().abs())).unwrap(),
        }
    }
    series
}

#[test]
fn every_instruction_set_makes_the_same_vector() {
    let mut random = SplitMix64::new(5);
    let all: Vec<PriceSeries> = (0..6).map(|instrument| series(&mut random, instrument % 2 == 1)).collect();
    let mut sums = MarketSums::new();
    all.iter().for_each(|series| sums.add(series, 10).unwrap());
    let (each, third) = (r#""rolling": "before""#, r#""every": 3, "rolling": "inside""#);
    let market = r#""market": {"universe": {"kind": "prices"}, "shrink": 5},"#;
    for (channels, dim, window, market) in [
        (&CHANNELS[..1], 384, each, market),
        (&CHANNELS[1..], 384, each, market),
        (&CHANNELS[..], 100, r#""rolling": "inside""#, market),
        (&CHANNELS[2..], 384, third, ""),
    ] {
        let spec = format!(
            r#"{{"encoder": "pipeline", "price_column": "close",
                "window": {{"min_fill": 0.5, "look_back": 2, "short_history": "mask", "max_gap_days": 10, "max_age_days": 10,
                            {window}}},
                {market} "channels": [{}], "layout": "newest_first",
                "projection": {{"kind": "orthogonal", "seed": 1}}, "dim": {dim}, "normalise": "l2"}}"#,
            channels.join(",")
        );
        let model = PipelineModel::new(PipelineSpec::from_json(&spec).unwrap(), 63).unwrap();
        for series in &all {
            let rows = PipelineRows::new(&model, series.clone(), true);
            for day in [300, 301, 302, 460, 499] {
                let context = DayContext::new(&model, Day(day), Some(&sums), &Members::default()).unwrap();
                let (best, plain) = (rows.make(Day(day), &context), rows.make_wide(Day(day), &context));
                let bytes = |made: Result<super::super::model::Made, _>| made.map(|made| made.vector);
                assert_eq!(bytes(best), bytes(plain), "{day}");
            }
        }
    }
}
