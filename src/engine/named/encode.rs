//! From named numbers to a vector.

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::linear::dot;
use super::super::numeric::pipeline::Refusal;
use super::super::numeric::pipeline::encode::finish;
use super::super::random::SplitMix64;
use super::features::read_features;
use super::spec::{Block, NamedSpec, Normalise};

/// Writes the vector of `row` (an object with a member per column) into `out` (shape `[4 * dim]`); the
/// number of features in it.
///
/// Errors: [`Refusal::NoFeature`] when none is there, [`Refusal::Flat`], [`Refusal::NonFinite`].
pub fn encode(spec: &NamedSpec, row: &Value, out: &mut [u8]) -> std::result::Result<usize, Refusal> {
    let mut vector = vec![0.0; spec.dim];
    let mut used = 0;
    for block in &spec.blocks {
        let made = block_vector(spec, block, row);
        used += made.features.len();
        vector.iter_mut().zip(&made.part).for_each(|(slot, x)| *slot += block.weight * (x / made.norm));
    }
    if used == 0 {
        return Err(Refusal::NoFeature);
    }
    finish(spec.normalise, &mut vector, out)?;
    Ok(used)
}

/// What each feature of `row` contributes to the dot product of its vector, before that is scaled, with `along` (shape
/// `[dim]`): block, name, and part. The parts add up to that dot product.
pub fn parts<'s>(spec: &'s NamedSpec, row: &Value, along: &[f64]) -> Vec<(&'s str, String, f64)> {
    let mut parts = Vec::new();
    for block in &spec.blocks {
        let made = block_vector(spec, block, row);
        let scale = block.weight / (made.norm * (spec.slots as f64).sqrt());
        for (name, scaled) in made.features {
            let slots = slots(spec, &block.name, &name).into_iter();
            let found: f64 = slots.filter_map(|(slot, sign)| Some(sign * along.get(slot)?)).sum();
            parts.push((block.name.as_str(), name, scale * scaled * found));
        }
    }
    parts
}

/// A block's own vector, before it is weighed.
struct BlockVector {
    part: Vec<f64>,
    /// What the vector is divided by.
    norm: f64,
    /// Its features and their scaled values.
    features: Vec<(String, f64)>,
}

fn block_vector(spec: &NamedSpec, block: &Block, row: &Value) -> BlockVector {
    let mut part = vec![0.0; spec.dim];
    let mut features = read_features(block, row);
    if block.concentration && !features.is_empty() {
        let gross: f64 = features.iter().map(|(_, v)| v.abs()).sum();
        let squares: f64 = features.iter().map(|(_, v)| v * v).sum();
        features.push(("concentration".to_owned(), squares / (gross * gross)));
    }
    features.retain_mut(|(name, value)| {
        let scaled = block.scaling(name).and_then(|scaling| scaling.apply(*value, block.clip));
        *value = scaled.unwrap_or(0.0);
        scaled.is_some()
    });
    for (name, scaled) in &features {
        for (slot, sign) in slots(spec, &block.name, name) {
            part[slot] += sign * scaled;
        }
    }
    let root = (spec.slots as f64).sqrt();
    part.iter_mut().for_each(|x| *x /= root);
    let norm = match block.normalise {
        Normalise::L2 => Some(dot(&part, &part).sqrt()).filter(|norm| *norm > 0.0 && norm.is_finite()),
        Normalise::None => None,
    };
    BlockVector { part, norm: norm.unwrap_or(1.0), features }
}

/// The slots of a feature, all different, and their signs.
fn slots(spec: &NamedSpec, block: &str, name: &str) -> Vec<(usize, f64)> {
    let key = format!("{block}/{name}");
    let mut random = SplitMix64::new(xxh3_64_with_seed(key.as_bytes(), spec.seed.into()));
    let mut slots: Vec<(usize, f64)> = Vec::with_capacity(spec.slots);
    while slots.len() < spec.slots {
        let bits = random.next_u64();
        let slot = ((bits >> 1) % spec.dim as u64) as usize;
        if slots.iter().all(|(taken, _)| *taken != slot) {
            slots.push((slot, if bits & 1 == 0 { 1.0 } else { -1.0 }));
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::super::super::vector::{VectorRef, cosine_similarity};
    use super::*;
    use serde_json::json;

    fn spec() -> NamedSpec {
        NamedSpec::from_json(
            r#"{"encoder": "named", "slots": 8, "seed": 1, "dim": 384, "normalise": "none", "blocks": [
            {"name": "exposure", "columns": ["sectors", "factors"], "weight": 1,
             "others": {"transform": "identity", "center": 0, "scale": 1}, "concentration": true},
            {"name": "risk", "columns": ["risk", "leverage"], "weight": 2, "clip": 3,
             "features": {"vol": {"transform": "log", "center": -2, "scale": 0.5},
                          "leverage": {"transform": "identity", "center": 1, "scale": 1}}}]}"#,
        )
        .unwrap()
    }

    fn vector(row: &Value) -> Vec<u8> {
        let mut out = vec![0; 384 * 4];
        encode(&spec(), row, &mut out).unwrap();
        out
    }

    #[test]
    fn a_missing_key_leaves_every_other_feature_where_it_was() {
        let whole =
            json!({"sectors": {"Technology": 0.5, "Energy": 0.25}, "risk": {"vol": 0.2, "note": "x"}});
        let less = json!({"sectors": {"Technology": 0.5}, "risk": {"vol": 0.2}});
        let (a, b) = (vector(&whole), vector(&less));
        let values = |bytes: &[u8]| VectorRef::new(bytes).unwrap().values().collect::<Vec<f32>>();
        // Energy and the concentration have eight slots each, which may fall on those of others.
        let moved = values(&a).iter().zip(values(&b)).filter(|(x, y)| **x != *y).count();
        assert!((9..=16).contains(&moved), "{moved} components moved");
    }

    #[test]
    fn order_and_source_of_keys_do_not_matter() {
        let a = json!({"sectors": {"A": 0.5, "B": -0.1}, "factors": {"C": 1.0}, "leverage": 1.5});
        let b = json!({"leverage": "1.5", "factors": {"C": 1.0, "A": 9.0}, "sectors": {"B": -0.1, "A": 0.5}});
        assert_eq!(vector(&a), vector(&b));
        let swapped = json!({"sectors": {"C": 1.0}, "factors": {"B": -0.1, "A": 0.5}, "leverage": 1.5});
        let (a, swapped) = (vector(&a), vector(&swapped));
        let cosine =
            cosine_similarity(VectorRef::new(&a).unwrap(), VectorRef::new(&swapped).unwrap()).unwrap();
        assert!(cosine > 0.999_999, "{cosine}");
    }

    #[test]
    fn likeness_of_exposures_is_likeness_of_vectors() {
        let of = |t: f64, e: f64, h: f64| vector(&json!({"sectors": {"T": t, "E": e, "H": h}}));
        let cosine = |a: &[u8], b: &[u8]| {
            cosine_similarity(VectorRef::new(a).unwrap(), VectorRef::new(b).unwrap()).unwrap()
        };
        let (tech, near, energy) = (of(0.9, 0.1, 0.0), of(0.8, 0.1, 0.1), of(0.05, 0.9, 0.05));
        assert!(cosine(&tech, &near) > 0.9 && cosine(&tech, &energy) < 0.6);
    }

    #[test]
    fn features_add_up_to_the_dot_product() {
        let row = json!({"sectors": {"T": 0.9, "E": 0.1}, "factors": {"V": -0.3}, "risk": {"vol": 0.2}, "leverage": 1.5});
        let json = serde_json::to_string(&spec()).unwrap().replacen(
            "\"normalise\":\"none\"",
            "\"normalise\":\"l2\"",
            1,
        );
        for spec in [spec(), NamedSpec::from_json(&json).unwrap()] {
            let mut out = vec![0; 384 * 4];
            encode(&spec, &row, &mut out).unwrap();
            let values: Vec<f64> = VectorRef::new(&out).unwrap().values().map(f64::from).collect();
            let along: Vec<f64> = (0..384).map(|i| f64::from(i).sin()).collect();
            let parts = parts(&spec, &row, &along);
            assert_eq!(
                parts.iter().map(|(_, name, _)| name.as_str()).collect::<Vec<_>>(),
                ["E", "T", "V", "concentration", "vol", "leverage"]
            );
            let total: f64 = parts.iter().map(|(.., part)| part).sum();
            assert!((total - dot(&values, &along)).abs() < 1e-6, "{total}");
        }
    }

    #[test]
    fn nothing_to_read_is_refused() {
        let mut out = vec![0; 384 * 4];
        for row in [json!({}), json!({"sectors": {"T": "many"}, "risk": {"vol": -1, "other": 3}}), json!([1])]
        {
            assert_eq!(encode(&spec(), &row, &mut out), Err(Refusal::NoFeature), "{row}");
        }
    }
}
