//! Names and numbers out of JSON.

use std::collections::HashSet;

use serde_json::Value;

use super::spec::Block;

/// Deepest nesting that is looked into.
const MAX_DEPTH: usize = 4;

/// Names and numbers, in order of first appearance, each name once.
pub type Features = Vec<(String, f64)>;

/// The features of a block in `row`, an object with a member per column. A member that is an object gives
/// its numbers under their path (`fundamentals.net_margin`), in byte order of the path; true is 1, false 0,
/// and a string that is a number in full counts as one. Everything else, and what is not finite, is missing.
pub fn read_features(block: &Block, row: &Value) -> Features {
    let mut features = Features::new();
    let mut known = HashSet::new();
    for column in &block.columns {
        let Some(member) = row.get(column) else { continue };
        let mut found = Vec::new();
        match member {
            Value::Object(_) => walk(member, "", 0, &mut found),
            other => found.extend(number(other).map(|value| (column.clone(), value))),
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, value) in found {
            if known.insert(name.clone()) {
                features.push((name, value));
            }
        }
    }
    features
}

fn walk(value: &Value, path: &str, depth: usize, found: &mut Features) {
    let Value::Object(members) = value else { return };
    for (key, member) in members {
        let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match member {
            Value::Object(_) if depth < MAX_DEPTH => walk(member, &name, depth + 1, found),
            other => found.extend(number(other).map(|value| (name, value))),
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}
