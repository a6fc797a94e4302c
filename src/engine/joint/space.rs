//! A joint space: its branches, read from JSON and validated, and the fusion of their vectors.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::super::error::{Error, Result};
use super::super::fit::Components;
use super::concat::Place;
use super::weight;

/// Fewest components of a concatenated vector; places that need fewer are followed by zeros.
pub const JOINT_DIM: usize = 384;

/// Most branches of a space, groups included.
pub const MAX_BRANCHES: usize = 32;

/// Deepest nesting of groups.
const MAX_DEPTH: usize = 4;

/// How the vectors of a group become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fusion {
    /// Weighted mean of the branches present: [`weighted_average`].
    Average,
    /// Weighted mean of exactly two branches: [`blend`].
    Blend,
    /// The only branch, unchanged.
    Identity,
    /// Branches of unit length, each in a place of its own: [`concat`](super::concat).
    Concat,
}

/// Kinds of tables that branches are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Table {
    /// Windows, portfolios and scenarios.
    #[serde(rename = "numeric_window_embeddings")]
    Numeric,
    /// Texts.
    #[serde(rename = "text_embeddings")]
    Text,
    /// Joint vectors.
    #[serde(rename = "joint_embeddings")]
    Joint,
}

impl Table {
    /// The modality of its models, and what a message calls its vectors.
    pub fn modality(self) -> &'static str {
        match self {
            Self::Numeric => "numeric",
            Self::Text => "text",
            Self::Joint => "joint",
        }
    }
}

/// Kinds of entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EntityType {
    /// A company, by `issuer_id`.
    Issuer,
    /// A security, by `instrument_id`.
    Instrument,
    /// A portfolio, by `portfolio_id`.
    Portfolio,
    /// A scenario, by set and number.
    Scenario,
}

/// Branches from JSON, with the place of what is wrong in the words of JSON. Errors: [`Error::InvalidSpace`].
fn read_branches(json: &str) -> Result<Vec<Branch>> {
    use serde_json::Value;
    let value: Value = serde_json::from_str(json).map_err(|e| invalid("branches", e.to_string()))?;
    let Value::Array(items) = value else {
        return Err(invalid("branches", "must be a JSON array of branches"));
    };
    let read = |(index, item): (usize, Value)| {
        let key = format!("branches[{index}]");
        if !item.is_object() {
            return Err(invalid(&key, "must be a JSON object"));
        }
        serde_json::from_value(item)
            .map_err(|e| invalid(&key, e.to_string().replace("expected f64", "expected a number")))
    };
    items.into_iter().enumerate().map(read).collect()
}

impl EntityType {
    /// Reads the SQL spelling. Errors: [`Error::InvalidSpace`].
    pub fn parse(name: &str) -> Result<Self> {
        serde_json::from_value(name.into()).map_err(|_| {
            invalid("entity_type", "must be \"ISSUER\", \"INSTRUMENT\", \"PORTFOLIO\" or \"SCENARIO\"")
        })
    }

    /// The SQL spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::Issuer => "ISSUER",
            Self::Instrument => "INSTRUMENT",
            Self::Portfolio => "PORTFOLIO",
            Self::Scenario => "SCENARIO",
        }
    }

    /// Keys that a scope of this kind may have: those that name the entity, then others.
    pub fn scope_keys(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Issuer => (&["issuer_id"], &["instrument_id", "region"]),
            Self::Instrument => (&["entity_id"], &["issuer_id", "region"]),
            Self::Portfolio => (&["portfolio_id"], &[]),
            Self::Scenario => (&["scenario_set_id", "scenario_id"], &[]),
        }
    }

    /// Kinds of entities that a space of this kind can look up.
    fn reaches(self, other: Self) -> bool {
        let pair = [Self::Issuer, Self::Instrument];
        self == other || (pair.contains(&self) && pair.contains(&other))
    }
}

/// A branch as written in JSON: a vector looked up, or a group of branches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// Its name, unique in the space.
    pub name: String,
    /// Its weight among its siblings.
    #[serde(default = "one")]
    pub weight: f64,
    /// Whether no vector is made without it.
    #[serde(default)]
    pub required: bool,
    /// How a group is fused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion: Option<Fusion>,
    /// The branches of a group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Branch>,
    /// Where the vector is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
    /// Its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_id: Option<String>,
    /// Whose vector it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_type: Option<EntityType>,
    /// `source_type` of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_type: Option<String>,
    /// Joint type of a joint vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joint_type: Option<String>,
    /// Window of a numeric vector; any, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_days: Option<i32>,
    /// Components of its place, in a group that is concatenated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dims: Option<usize>,
    /// Seed of an orthogonal projection into its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// Model id of a fitted transform, applied first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<String>,
    /// Model id of a fitted transform of which only the mean is taken, and taken off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub center: Option<String>,
}

fn one() -> f64 {
    1.0
}

/// A branch that is looked up.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// Its name.
    pub name: String,
    /// Where the vector is.
    pub table: Table,
    /// Its model.
    pub model_id: String,
    /// Whose vector it is.
    pub entity_type: EntityType,
    /// `source_type` of a text.
    pub source_type: Option<String>,
    /// Joint type of a joint vector.
    pub joint_type: Option<String>,
    /// Window of a numeric vector.
    pub window_days: Option<i32>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Leaf(usize),
    Group(Fusion, Vec<Node>),
}

#[derive(Debug, Clone, PartialEq)]
struct Node {
    weight: f64,
    required: bool,
    part: Part,
    /// Where it goes in a group that is concatenated.
    place: Place,
    transform: Option<String>,
}

/// A validated space.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    fusion: Fusion,
    nodes: Vec<Node>,
    leaves: Vec<Leaf>,
}

/// A fused vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Fused<'a> {
    /// The vector.
    pub vector: Cow<'a, [u8]>,
    /// Leaves that are in it, one bit each.
    pub used: u32,
}

fn invalid(key: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::InvalidSpace { key: key.into(), problem: problem.into() }
}

impl Space {
    /// Reads and validates the branches (a JSON array) of a space of `entity_type`.
    ///
    /// Errors: [`Error::InvalidSpace`] naming the key and what is wrong with it.
    pub fn from_json(entity_type: EntityType, fusion: Fusion, branches: &str) -> Result<Self> {
        Self::new(entity_type, fusion, read_branches(branches)?)
    }

    fn new(entity_type: EntityType, fusion: Fusion, branches: Vec<Branch>) -> Result<Self> {
        let mut builder = Builder { entity_type, names: Vec::new(), leaves: Vec::new() };
        let nodes = builder.group("branches", fusion, branches, 1)?;
        Ok(Self { fusion, nodes, leaves: builder.leaves })
    }

    /// Whether vectors may have empty places, so that only those of the same branches are alike in kind.
    pub fn leaves_gaps(&self) -> bool {
        self.fusion == Fusion::Concat && self.nodes.iter().any(|node| !node.required)
    }

    /// The branches that are looked up, in order.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// Replaces the model of a leaf; an empty one takes the leaf away, as if its vectors were missing.
    ///
    /// Errors: [`Error::InvalidSpace`] for a required leaf that would go.
    pub fn set_model(&mut self, name: &str, model_id: &str) -> Result<()> {
        let Some(index) = self.leaves.iter().position(|leaf| leaf.name == name) else { return Ok(()) };
        if model_id.is_empty() && requires(&self.nodes, index) {
            return Err(invalid(name, "is a required branch and cannot be switched off"));
        }
        if model_id.is_empty() {
            remove(&mut self.nodes, index);
            self.leaves.remove(index);
        } else {
            self.leaves[index].model_id = model_id.to_owned();
        }
        Ok(())
    }

    /// Gives the fitted transforms that branches name; `find` reads one by its model id.
    ///
    /// Errors: those of `find`.
    pub fn bind<E>(
        &mut self,
        find: &dyn Fn(&str) -> std::result::Result<Components, E>,
    ) -> std::result::Result<(), E> {
        places::bind(&mut self.nodes, find)
    }

    /// Fuses the vectors of the leaves (in their order; None: missing). None when a required branch, or every
    /// branch, is missing.
    ///
    /// Errors: [`Error::VectorBytes`], [`Error::DimensionMismatch`].
    pub fn fuse<'a>(&self, vectors: &[Option<&'a [u8]>]) -> Result<Option<Fused<'a>>> {
        self.fuse_all(&[vectors]).pop().unwrap_or(Ok(None))
    }

    /// Fuses the vectors of several keys, each as [`Space::fuse`] does it, to the bit.
    pub fn fuse_all<'a>(&self, keys: &[&[Option<&'a [u8]>]]) -> Vec<Result<Option<Fused<'a>>>> {
        fuse::fuse_all(self.fusion, &self.nodes, keys)
    }

    /// Names of the leaves whose bit is set in `mask`.
    pub fn names(&self, mask: u32) -> Vec<&str> {
        let set = |index: &usize| mask & (1 << index) != 0;
        let leaves = self.leaves.iter().enumerate();
        leaves.filter(|(index, _)| set(index)).map(|(_, leaf)| leaf.name.as_str()).collect()
    }

    /// Digest of the vectors that went in and of the models they come from.
    pub fn digest(&self, vectors: &[Option<&[u8]>]) -> [u8; 16] {
        let mut hash = Xxh3::new();
        for (leaf, vector) in self.leaves.iter().zip(vectors) {
            hash.update(leaf.model_id.as_bytes());
            hash.update(&[0, u8::from(vector.is_some())]);
            hash.update(vector.unwrap_or_default());
        }
        hash.digest128().to_be_bytes()
    }
}

struct Builder {
    entity_type: EntityType,
    names: Vec<String>,
    leaves: Vec<Leaf>,
}

impl Builder {
    fn group(&mut self, key: &str, fusion: Fusion, branches: Vec<Branch>, depth: usize) -> Result<Vec<Node>> {
        if depth > MAX_DEPTH {
            return Err(invalid(key, format!("groups are nested deeper than {MAX_DEPTH}")));
        }
        check_group(key, fusion, &branches)?;
        let nodes: Vec<Node> = branches
            .into_iter()
            .enumerate()
            .map(|(index, branch)| self.node(&format!("{key}[{index}]"), branch, depth))
            .collect::<Result<_>>()?;
        let total: f32 = nodes.iter().map(|node| node.weight as f32).sum();
        if total > 0.0 { Ok(nodes) } else { Err(invalid(format!("{key}.weight"), "weights sum to zero")) }
    }

    fn node(&mut self, key: &str, branch: Branch, depth: usize) -> Result<Node> {
        let name = &branch.name;
        let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 32
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !plain {
            let problem = "must be a letter and up to 31 letters, digits and underscores, in lower case";
            return Err(invalid(format!("{key}.name"), problem));
        }
        if self.names.contains(name) {
            return Err(invalid(format!("{key}.name"), format!("\"{name}\" is there twice")));
        }
        self.names.push(name.clone());
        if self.names.len() > MAX_BRANCHES {
            return Err(invalid(key, format!("more than {MAX_BRANCHES} branches")));
        }
        weight(branch.weight, 1)
            .map_err(|_| invalid(format!("{key}.weight"), "must be a finite number of at least 0"))?;
        let (weight, required) = (branch.weight, branch.required);
        let transform = branch.transform.clone().or_else(|| branch.center.clone());
        let (dims, center) = (branch.dims.unwrap_or(0), branch.center.is_some());
        let place = Place { dims, weight, seed: branch.seed, transform: None, center };
        let part = match branch.fusion {
            Some(fusion) => {
                if branch.table.is_some() || branch.model_id.is_some() {
                    return Err(invalid(key, "has both a table and branches of its own"));
                }
                Part::Group(
                    fusion,
                    self.group(&format!("{key}.branches"), fusion, branch.branches, depth + 1)?,
                )
            }
            None => Part::Leaf(self.leaf(key, branch)?),
        };
        Ok(Node { weight, required, part, place, transform })
    }

    fn leaf(&mut self, key: &str, branch: Branch) -> Result<usize> {
        if !branch.branches.is_empty() {
            return Err(invalid(format!("{key}.fusion"), "is required for a branch with branches"));
        }
        let missing = |name: &str| invalid(format!("{key}.{name}"), "is required");
        let table = branch.table.ok_or_else(|| missing("table"))?;
        let model_id = branch.model_id.filter(|id| !id.is_empty()).ok_or_else(|| missing("model_id"))?;
        let entity_type = branch.entity_type.ok_or_else(|| missing("entity_type"))?;
        if !self.entity_type.reaches(entity_type) {
            let (from, to) = (self.entity_type.name(), entity_type.name());
            let problem = format!("a space of {from} cannot look up a {to}");
            return Err(invalid(format!("{key}.entity_type"), problem));
        }
        for (name, given, wanted) in [
            ("source_type", branch.source_type.is_some(), table == Table::Text),
            ("joint_type", branch.joint_type.is_some(), table == Table::Joint),
        ] {
            match (given, wanted) {
                (false, true) => return Err(missing(name)),
                (true, false) => {
                    let problem = format!("has no meaning for a {} branch", table.modality());
                    return Err(invalid(format!("{key}.{name}"), problem));
                }
                _ => {}
            }
        }
        if branch.window_days.is_some_and(|days| days < 1 || table != Table::Numeric) {
            return Err(invalid(
                format!("{key}.window_days"),
                "must be at least 1, and is for numeric branches only",
            ));
        }
        self.leaves.push(Leaf {
            name: branch.name,
            table,
            model_id,
            entity_type,
            source_type: branch.source_type,
            joint_type: branch.joint_type,
            window_days: branch.window_days,
        });
        Ok(self.leaves.len() - 1)
    }
}

/// Whether leaf `index` is required in its group, or alone in it.
fn requires(nodes: &[Node], index: usize) -> bool {
    nodes.iter().any(|node| match &node.part {
        Part::Leaf(leaf) => *leaf == index && (node.required || nodes.len() == 1),
        Part::Group(_, nodes) => requires(nodes, index),
    })
}

/// Takes leaf `index` out; those behind it move up.
fn remove(nodes: &mut Vec<Node>, index: usize) {
    nodes.retain(|node| node.part != Part::Leaf(index));
    for node in nodes {
        match &mut node.part {
            Part::Leaf(leaf) if *leaf > index => *leaf -= 1,
            Part::Leaf(_) => {}
            Part::Group(_, nodes) => remove(nodes, index),
        }
    }
}

fn check_group(key: &str, fusion: Fusion, branches: &[Branch]) -> Result<()> {
    let required = branches.iter().all(|branch| branch.required);
    match (fusion, branches.len()) {
        (_, 0) => Err(invalid(key, "must name at least one branch")),
        (Fusion::Blend, count) if count != 2 || !required => {
            Err(invalid(key, "fusion \"blend\" needs exactly two branches, both required"))
        }
        (Fusion::Identity, count) if count != 1 || !required => {
            Err(invalid(key, "fusion \"identity\" needs exactly one branch, a required one"))
        }
        _ => places::check_places(key, fusion, branches),
    }
}

mod fuse;
mod places;
#[cfg(test)]
mod tests;
