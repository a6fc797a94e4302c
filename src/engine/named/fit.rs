//! Centres and scales of named features, learnt from a cross-section.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::error::{Error, Result};
use super::super::numeric::pipeline::standard::{median, median_and_deviation};
use super::features::read_features;
use super::spec::{NamedSpec, Scaling, Transform};

/// Most features of a fitted block.
const MAX_FEATURES: usize = 2_000;

/// A log makes positive values comparable whose upper and lower twentieth are this far apart.
const LOG_RATIO: f64 = 10.0;

/// Values of every feature of a spec's blocks, gathered entity by entity.
#[derive(Debug)]
pub struct CrossSection<'a> {
    spec: &'a NamedSpec,
    values: Vec<BTreeMap<String, Vec<f64>>>,
    entities: usize,
}

impl<'a> CrossSection<'a> {
    /// A cross-section of nobody yet.
    pub fn new(spec: &'a NamedSpec) -> Self {
        Self { spec, values: vec![BTreeMap::new(); spec.blocks.len()], entities: 0 }
    }

    /// Adds the row of one entity.
    ///
    /// Errors: [`Error::OutOfRange`] for a block with more than 2000 different features.
    pub fn add(&mut self, row: &Value) -> Result<()> {
        let mut any = false;
        for (block, values) in self.spec.blocks.iter().zip(&mut self.values) {
            for (name, value) in read_features(block, row) {
                any = true;
                values.entry(name).or_default().push(value);
            }
            if values.len() > MAX_FEATURES {
                let (value, max) = (values.len() as i64, MAX_FEATURES as i64);
                return Err(Error::OutOfRange { name: "features of a block", value, min: 1, max });
            }
        }
        self.entities += usize::from(any);
        Ok(())
    }

    /// Entities with a feature.
    pub fn entities(&self) -> usize {
        self.entities
    }

    /// The spec with every block's dictionary replaced by what was seen: features that at least a tenth of
    /// the entities have, and that vary. Features beyond it are left out.
    ///
    /// Errors: [`Error::TooFewToFit`] for fewer than three entities or no feature that varies.
    pub fn fit(self, fitted: Value) -> Result<NamedSpec> {
        let few = Error::TooFewToFit { found: self.entities, needed: 3 };
        if self.entities < 3 {
            return Err(few);
        }
        let mut spec = self.spec.clone();
        for (block, seen) in spec.blocks.iter_mut().zip(&self.values) {
            let known =
                seen.iter().filter(|(_, values)| values.len() >= 3 && values.len() * 10 >= self.entities);
            block.features =
                known.filter_map(|(name, values)| Some((name.clone(), scaling_of(values)?))).collect();
            block.others = None;
        }
        // A block that saw nothing keeps no feature, and a spec must not have empty blocks.
        spec.blocks.retain(|block| !block.features.is_empty());
        if spec.blocks.is_empty() {
            return Err(few);
        }
        spec.fitted = Some(fitted);
        Ok(spec)
    }
}

/// Median and robust deviation, of logs where values are positive and far apart; None where nothing varies.
fn scaling_of(values: &[f64]) -> Option<Scaling> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |share: usize| sorted[(sorted.len() - 1) * share / 100];
    let wide = sorted[0] > 0.0 && at(95) > at(5) * LOG_RATIO;
    let transform = if wide { Transform::Log } else { Transform::Identity };
    let transformed: Vec<f64> = values.iter().filter_map(|v| transform.apply(*v)).collect();
    let (center, robust) = median_and_deviation(&transformed);
    let scale = if robust > 0.0 { robust } else { deviation(&transformed, center) };
    (scale > 0.0 && scale.is_finite()).then_some(Scaling { transform, center, scale })
}

/// Root mean squared distance from the centre, for features of which most are equal.
fn deviation(values: &[f64], center: f64) -> f64 {
    let sum: f64 = values.iter().map(|v| (v - center) * (v - center)).sum();
    debug_assert!(median(values.iter().copied()) == center);
    (sum / values.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::encode::encode;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cross_section_gives_centres_scales_and_logs() {
        let base = NamedSpec::from_json(
            r#"{"encoder": "named", "slots": 4, "seed": 1, "dim": 64, "normalise": "l2", "blocks": [
            {"name": "all", "columns": ["f"], "weight": 1, "clip": 3,
             "others": {"transform": "signed_log", "center": 0, "scale": 5}},
            {"name": "empty", "columns": ["g"], "weight": 1,
             "others": {"transform": "identity", "center": 0, "scale": 1}}]}"#,
        )
        .unwrap();
        let mut seen = CrossSection::new(&base);
        let row = |i: i32| {
            json!({"f": {"size": 10f64.powi(i), "margin": f64::from(i) * 0.1, "same": 7,
            "x": {"rare": (i == 0).then_some(1)}}})
        };
        (0..9).for_each(|i| seen.add(&row(i)).unwrap());
        let fitted = seen.fit(json!({"entities": 9})).unwrap();
        assert_eq!(fitted.blocks.len(), 1);
        let features = &fitted.blocks[0].features;
        assert_eq!(features.keys().collect::<Vec<_>>(), ["margin", "size"]);
        assert_eq!(
            (features["size"].transform, features["margin"].transform),
            (Transform::Log, Transform::Identity)
        );
        assert!((features["size"].center - 4.0 * 10f64.ln()).abs() < 1e-12);
        assert!((features["margin"].scale - 0.2 * 1.4826).abs() < 1e-12);
        let again = NamedSpec::from_json(&serde_json::to_string(&fitted).unwrap()).unwrap();
        assert_eq!(again, fitted);
        assert_eq!(encode(&again, &row(2), &mut [0; 256]).unwrap(), 2);
    }

    #[test]
    fn too_few_entities_are_refused() {
        let json = r#"{"encoder": "named", "slots": 4, "seed": 1, "dim": 64, "normalise": "l2", "blocks": [
            {"name": "all", "columns": ["f"], "weight": 1, "others": {"transform": "asinh", "center": 0, "scale": 1}}]}"#;
        let base = NamedSpec::from_json(json).unwrap();
        let mut seen = CrossSection::new(&base);
        seen.add(&json!({"f": {"a": 1}})).unwrap();
        seen.add(&json!({"f": {"note": "none"}})).unwrap();
        assert_eq!(seen.entities(), 1);
        assert!(matches!(seen.fit(json!(null)), Err(Error::TooFewToFit { found: 1, needed: 3 })));
        for (from, to, key) in [
            ("\"slots\": 4", "\"slots\": 0", "slots"),
            ("\"slots\": 4", "\"slots\": 65", "slots"),
            ("\"weight\": 1", "\"weight\": 0", "blocks[0].weight"),
            ("\"scale\": 1", "\"scale\": -1", "blocks[0].others.scale"),
            ("[\"f\"]", "[]", "blocks[0].columns"),
            ("asinh", "sqrt", "spec"),
        ] {
            match NamedSpec::from_json(&json.replacen(from, to, 1)) {
                Err(Error::InvalidSpec { key: found, .. }) => assert_eq!(found, key),
                other => panic!("{to} gave {other:?}"),
            }
        }
    }
}
