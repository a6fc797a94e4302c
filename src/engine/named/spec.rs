//! The recipe of a model of named features.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::error::{Error, Result};
use super::super::vector::MAX_DIM;

/// Most slots of a feature.
const MAX_SLOTS: usize = 64;

/// What a spec of this kind says under `encoder`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedTag {
    /// Features by name.
    Named,
}

/// What is done to a value before it is centred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Nothing.
    Identity,
    /// `ln v`; a value that is not positive counts as missing.
    Log,
    /// `sign(v) ln(1 + |v|)`.
    SignedLog,
    /// `asinh v`.
    Asinh,
}

/// How a value becomes comparable: `(transform(v) - center) / scale`, kept within `clip`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// Done first.
    pub transform: Transform,
    /// Value that becomes 0.
    pub center: f64,
    /// Distance that becomes 1. Positive.
    pub scale: f64,
}

/// Scaling of the finished block or vector.
pub use super::super::numeric::pipeline::spec::Normalise;

/// Features that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Name; part of what is hashed.
    pub name: String,
    /// Columns that it is read from: numbers, or objects of numbers. Of a name found twice the first counts.
    pub columns: Vec<String>,
    /// Factor of the block. Positive.
    pub weight: f64,
    /// Whether the block is brought to unit length before it is weighed.
    #[serde(default = "none")]
    pub normalise: Normalise,
    /// Scaling of the features named here, by their whole path or its last part.
    #[serde(default)]
    pub features: BTreeMap<String, Scaling>,
    /// Scaling of all others; without it they are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<Scaling>,
    /// Largest magnitude of a scaled value. Positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// Adds `concentration`, the Herfindahl index `sum w^2 / (sum |w|)^2` of the block's own values.
    #[serde(default)]
    pub concentration: bool,
}

fn none() -> Normalise {
    Normalise::None
}

/// Recipe of a model of named features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedSpec {
    /// Kind of spec.
    pub encoder: NamedTag,
    /// What is read.
    pub blocks: Vec<Block>,
    /// Slots of every feature.
    pub slots: usize,
    /// Seed of the hash.
    pub seed: u32,
    /// Components of the vector.
    pub dim: usize,
    /// Scaling of the finished vector.
    pub normalise: Normalise,
    /// What a fit notes: base model, as-of date, number of entities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted: Option<serde_json::Value>,
}

impl NamedSpec {
    /// Reads and validates a spec.
    ///
    /// Errors: [`Error::InvalidSpec`] naming the key and what is wrong with it.
    pub fn from_json(json: &str) -> Result<Self> {
        let spec: Self = serde_json::from_str(json).map_err(|e| invalid("spec", e.to_string()))?;
        check(spec.dim > 0 && spec.dim <= MAX_DIM, "dim", format!("must be between 1 and {MAX_DIM}"))?;
        let most = MAX_SLOTS.min(spec.dim);
        check((1..=most).contains(&spec.slots), "slots", format!("must be between 1 and {most}"))?;
        check(
            !spec.blocks.is_empty() && spec.blocks.len() <= 32,
            "blocks",
            "must be between 1 and 32 blocks",
        )?;
        (0..).zip(&spec.blocks).try_for_each(|(index, block)| block.validate(index))?;
        Ok(spec)
    }

    /// Columns that are read, in order, without repeats.
    pub fn columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = Vec::new();
        for column in self.blocks.iter().flat_map(|block| &block.columns) {
            if !columns.contains(&column.as_str()) {
                columns.push(column);
            }
        }
        columns
    }
}

impl Block {
    fn validate(&self, index: usize) -> Result<()> {
        let key = |name: &str| format!("blocks[{index}].{name}");
        let positive = |value: f64| value > 0.0 && value.is_finite();
        check(!self.name.is_empty(), &key("name"), "must not be empty")?;
        check(!self.columns.is_empty(), &key("columns"), "must name at least one column")?;
        check(positive(self.weight), &key("weight"), "must be positive and finite")?;
        check(self.clip.is_none_or(positive), &key("clip"), "must be positive and finite")?;
        let scalings = self.features.iter().map(|(name, s)| (name.as_str(), s));
        for (name, scaling) in scalings.chain(self.others.iter().map(|s| ("others", s))) {
            check(scaling.center.is_finite(), &key(&format!("{name}.center")), "must be finite")?;
            check(positive(scaling.scale), &key(&format!("{name}.scale")), "must be positive and finite")?;
        }
        let useful = !self.features.is_empty() || self.others.is_some();
        check(useful, &key("features"), "must name a feature, or the block scale \"others\"")
    }

    /// The scaling of a feature; None for one that is left out.
    pub fn scaling(&self, name: &str) -> Option<&Scaling> {
        let last = name.rsplit('.').next().unwrap_or(name);
        self.features.get(name).or_else(|| self.features.get(last)).or(self.others.as_ref())
    }
}

impl Scaling {
    /// The value, comparable; None for one that counts as missing.
    pub fn apply(&self, value: f64, clip: Option<f64>) -> Option<f64> {
        let scaled = (self.transform.apply(value)? - self.center) / self.scale;
        let kept = clip.map_or(scaled, |limit| scaled.clamp(-limit, limit));
        kept.is_finite().then_some(kept)
    }
}

impl Transform {
    /// The transformed value; None for one that counts as missing.
    pub fn apply(self, value: f64) -> Option<f64> {
        let transformed = match self {
            Self::Identity => value,
            Self::Log => libm::log(value),
            Self::SignedLog => libm::log1p(value.abs()).copysign(value),
            Self::Asinh => libm::asinh(value),
        };
        transformed.is_finite().then_some(transformed)
    }
}

fn check(holds: bool, key: &str, problem: impl Into<String>) -> Result<()> {
    if holds { Ok(()) } else { Err(invalid(key, problem)) }
}

fn invalid(key: &str, problem: impl Into<String>) -> Error {
    Error::InvalidSpec { key: key.to_owned(), problem: problem.into() }
}
