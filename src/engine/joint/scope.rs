//! Whom a joint vector is about: the entity in an `entity_scope`.

use serde_json::Value;

/// An `entity_scope`, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope(Value);

impl Scope {
    /// Reads the JSON text; what is no JSON reads as null.
    pub fn parse(json: &str) -> Self {
        Self(serde_json::from_str(json).unwrap_or_default())
    }

    /// Whether it is an object at all.
    pub fn is_object(&self) -> bool {
        self.0.is_object()
    }

    /// A member as text, as the operator `->>` gives it; None when it is absent or null.
    pub fn get(&self, key: &str) -> Option<String> {
        match self.0.get(key)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// The entity by the natural key of `joint_embeddings`: `entity_id`, else `portfolio_id`, else
    /// `scenario_set_id:scenario_id`, else `issuer_id`.
    pub fn entity(&self) -> Option<String> {
        let scenario = || Some(format!("{}:{}", self.get("scenario_set_id")?, self.get("scenario_id")?));
        self.get("entity_id")
            .or_else(|| self.get("portfolio_id"))
            .or_else(scenario)
            .or_else(|| self.get("issuer_id"))
    }

    /// `entity_type` and entity, if the scope pins down one row of a model and date by itself.
    pub fn pinned(&self) -> Option<(String, String)> {
        let kind = self.get("entity_type")?;
        let id = match kind.as_str() {
            "ISSUER" => self.get("issuer_id"),
            "PORTFOLIO" => self.get("portfolio_id"),
            "SCENARIO" => self.entity().filter(|_| self.get("scenario_id").is_some()),
            _ => self.get("entity_id"),
        };
        Some((kind, id?))
    }

    /// What tells this entity from others: type and id, or the whole scope where it names neither.
    pub fn identity(&self) -> String {
        match self.entity() {
            Some(id) => format!("{}\u{1}{id}", self.get("entity_type").unwrap_or_default()),
            None => self.0.to_string(),
        }
    }

    /// What ties are broken by: the entity's id, or the whole scope.
    pub fn tie_key(&self) -> String {
        self.entity().unwrap_or_else(|| self.0.to_string())
    }

    /// The scope as JSON.
    pub fn into_json(self) -> Value {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_those_of_the_natural_key() {
        for (json, entity, pinned) in [
            (r#"{"entity_type": "ISSUER", "issuer_id": "I", "instrument_id": "X"}"#, Some("I"), Some("I")),
            (r#"{"entity_type": "INSTRUMENT", "entity_id": "X", "issuer_id": "I"}"#, Some("X"), Some("X")),
            (r#"{"entity_type": "INSTRUMENT", "issuer_id": "I"}"#, Some("I"), None),
            (r#"{"entity_type": "PORTFOLIO", "portfolio_id": "P"}"#, Some("P"), Some("P")),
            (
                r#"{"entity_type": "SCENARIO", "scenario_set_id": "S", "scenario_id": 7}"#,
                Some("S:7"),
                Some("S:7"),
            ),
            (r#"{"entity_type": "SCENARIO", "scenario_set_id": "S"}"#, None, None),
            (r#"{"entity_type": "ISSUER", "issuer_id": null}"#, None, None),
            (r#"{"region": "US"}"#, None, None),
            ("[1]", None, None),
            ("", None, None),
        ] {
            let scope = Scope::parse(json);
            assert_eq!(scope.entity().as_deref(), entity, "{json}");
            assert_eq!(scope.pinned().map(|(_, id)| id).as_deref(), pinned, "{json}");
        }
    }

    #[test]
    fn entities_of_different_types_differ() {
        let state = Scope::parse(r#"{"entity_type": "INSTRUMENT", "entity_id": "X"}"#);
        let other = Scope::parse(r#"{"entity_type": "BOND", "entity_id": "X", "region": "US"}"#);
        assert_ne!(state.identity(), other.identity());
        assert_eq!(state.tie_key(), other.tie_key());
        assert_ne!(
            Scope::parse(r#"{"region": "US"}"#).identity(),
            Scope::parse(r#"{"region": "EU"}"#).identity()
        );
    }
}
