//! Tests of joint spaces: every key validated, every combination of missing branches.

use super::super::super::vector::VectorRef;
use super::*;

const PROFILE: &str = r#"[
    {"name": "numeric", "weight": 0.5, "required": true, "fusion": "average", "branches": [
        {"name": "profile", "weight": 1, "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "p"},
        {"name": "regime", "weight": 1, "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "r"}]},
    {"name": "text", "weight": 0.5, "required": true, "table": "text_embeddings", "entity_type": "ISSUER",
     "model_id": "t", "source_type": "PROFILE"}]"#;

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn profile() -> Space {
    Space::from_json(EntityType::Issuer, Fusion::Blend, PROFILE).unwrap()
}

#[test]
fn missing_branches_in_every_combination() {
    let (p, r, t) = (bytes(&[4.0, 8.0]), bytes(&[2.0, -8.0]), bytes(&[1.0, 3.0]));
    let space = profile();
    for mask in 0..8_u32 {
        let pick = |bit: u32, bytes| (mask & (1 << bit) != 0).then_some(bytes);
        let vectors = [pick(0, p.as_slice()), pick(1, r.as_slice()), pick(2, t.as_slice())];
        let fused = space.fuse(&vectors).unwrap();
        let expected: Option<[f32; 2]> = match mask {
            0b111 => Some([2.0, 1.5]),
            0b101 => Some([2.5, 5.5]),
            0b110 => Some([1.5, -2.5]),
            _ => None,
        };
        assert_eq!(fused.as_ref().map(|f| f.vector.to_vec()), expected.map(|v| bytes(&v)), "{mask:03b}");
        if let Some(fused) = fused {
            assert_eq!(fused.used, mask);
        }
    }
    assert_eq!(space.names(0b101), ["profile", "text"]);
}

#[test]
fn dimensions_that_differ_are_told_and_zero_weights_left_out() {
    let (two, three) = (bytes(&[1.0, 2.0]), bytes(&[1.0, 2.0, 3.0]));
    let mismatch = profile().fuse(&[Some(&two), Some(&three), Some(&two)]);
    assert_eq!(mismatch, Err(Error::DimensionMismatch { left: 2, right: 3 }));
    assert!(matches!(profile().fuse(&[Some(&two[..3]), None, Some(&two)]), Err(Error::VectorBytes { .. })));
    let json = PROFILE.replace(r#""regime", "weight": 1"#, r#""regime", "weight": 0"#);
    let space = Space::from_json(EntityType::Issuer, Fusion::Blend, &json).unwrap();
    let fused = space.fuse(&[Some(&two), Some(&three), Some(&two)]).unwrap().unwrap();
    assert_eq!(fused.used, 0b101);
}

#[test]
fn identity_copies_every_bit() {
    let json = r#"[{"name": "only", "required": true, "table": "numeric_window_embeddings",
        "entity_type": "PORTFOLIO", "model_id": "m"}]"#;
    let space = Space::from_json(EntityType::Portfolio, Fusion::Identity, json).unwrap();
    let odd = [0x01, 0x00, 0xa0, 0x7f, 0x00, 0x00, 0x00, 0x80];
    assert_eq!(space.fuse(&[Some(&odd)]).unwrap().unwrap().vector.as_ref(), odd);
    assert_eq!(space.fuse(&[None]).unwrap(), None);
}

#[test]
fn digests_tell_inputs_apart() {
    let (a, b) = (bytes(&[1.0]), bytes(&[2.0]));
    let space = profile();
    let digests = [
        space.digest(&[Some(&a), Some(&b), Some(&a)]),
        space.digest(&[Some(&b), Some(&a), Some(&a)]),
        space.digest(&[Some(&a), None, Some(&a)]),
        space.digest(&[None, Some(&a), Some(&a)]),
    ];
    for (index, digest) in digests.iter().enumerate() {
        assert!(!digests[..index].contains(digest));
    }
}

#[test]
fn every_key_is_validated() {
    let table = "\"table\": \"text_embeddings\"";
    for (from, to, key) in [
        (r#""text", "weight": 0.5"#, r#""text", "weight": -0.5"#, "branches[1].weight"),
        (r#""text", "weight": 0.5"#, r#""text", "weight": 1e39"#, "branches[1].weight"),
        (r#""weight": 1,"#, r#""weight": 0,"#, "branches[0].branches.weight"),
        (r#""name": "text""#, r#""name": "profile""#, "branches[1].name"),
        (r#""name": "text""#, r#""name": "Text""#, "branches[1].name"),
        (r#""name": "text""#, r#""name": """#, "branches[1].name"),
        (table, "\"table\": \"prices_daily\"", "branches[1]"),
        (table, "\"window_days\": 3", "branches[1].table"),
        (table, "\"window_days\": 3, \"table\": \"text_embeddings\"", "branches[1].window_days"),
        (table, "\"joint_type\": \"X\", \"table\": \"text_embeddings\"", "branches[1].joint_type"),
        (table, "\"table\": \"joint_embeddings\"", "branches[1].source_type"),
        (r#""model_id": "t", "#, "", "branches[1].model_id"),
        (r#""model_id": "t""#, r#""model_id": """#, "branches[1].model_id"),
        (r#", "source_type": "PROFILE""#, "", "branches[1].source_type"),
        (r#""entity_type": "ISSUER","#, "", "branches[1].entity_type"),
        (r#""entity_type": "ISSUER""#, r#""entity_type": "PORTFOLIO""#, "branches[1].entity_type"),
        (r#""entity_type": "ISSUER""#, r#""entity_type": "BOND""#, "branches[1]"),
        (r#""fusion": "average", "#, "", "branches[0].fusion"),
        (r#""fusion": "average""#, r#""fusion": "identity""#, "branches[0].branches"),
        (r#""fusion": "average""#, r#""fusion": "blend""#, "branches[0].branches"),
        (r#""fusion": "average""#, r#""fusion": "average", "model_id": "x""#, "branches[0]"),
        (r#""required": true, "table""#, r#""table""#, "branches"),
        (r#""name": "text""#, r#""name": "text", "colour": "red""#, "branches[1]"),
    ] {
        let json = PROFILE.replace(from, to);
        assert_ne!(json, PROFILE, "{from}");
        match Space::from_json(EntityType::Issuer, Fusion::Blend, &json) {
            Err(Error::InvalidSpace { key: found, .. }) => assert_eq!(found, key, "{from} -> {to}"),
            other => panic!("{from} -> {to} gave {other:?}"),
        }
    }
    for json in ["[]", "{}", "1", "null", "[1]", "[{}]", "[[]]"] {
        assert!(Space::from_json(EntityType::Issuer, Fusion::Average, json).is_err(), "{json}");
    }
}

#[test]
fn nesting_and_numbers_of_branches_are_bounded() {
    let leaf = |n: usize| {
        format!(
            r#"{{"name": "l{n}", "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "m"}}"#
        )
    };
    let mut nested = leaf(0);
    for depth in 0..4 {
        nested = format!(r#"{{"name": "g{depth}", "fusion": "average", "branches": [{nested}]}}"#);
    }
    let parse = |json: String| Space::from_json(EntityType::Instrument, Fusion::Average, &json);
    assert!(matches!(parse(format!("[{nested}]")), Err(Error::InvalidSpace { .. })));
    let many = |count: usize| format!("[{}]", (0..count).map(leaf).collect::<Vec<_>>().join(","));
    assert_eq!(parse(many(MAX_BRANCHES)).unwrap().leaves().len(), MAX_BRANCHES);
    assert!(parse(many(MAX_BRANCHES + 1)).is_err());
}

#[test]
fn models_are_replaced_and_optional_branches_switched_off() {
    let (p, t) = (bytes(&[4.0]), bytes(&[2.0]));
    let mut space = profile();
    space.set_model("text", "other").unwrap();
    assert_eq!(space.leaves()[2].model_id, "other");
    space.set_model("profile", "").unwrap();
    assert_eq!(space.leaves().iter().map(|leaf| leaf.name.as_str()).collect::<Vec<_>>(), ["regime", "text"]);
    let fused = space.fuse(&[Some(&p), Some(&t)]).unwrap().unwrap();
    assert_eq!((fused.vector.to_vec(), fused.used), (bytes(&[3.0]), 0b11));
    for name in ["regime", "text"] {
        assert!(matches!(space.set_model(name, ""), Err(Error::InvalidSpace { .. })), "{name}");
    }
}

#[test]
fn places_are_checked_and_filled() {
    let json = r#"[
        {"name": "numbers", "weight": 3, "required": true, "dims": 2, "table": "numeric_window_embeddings",
         "entity_type": "INSTRUMENT", "model_id": "n"},
        {"name": "words", "dims": 2, "table": "text_embeddings", "entity_type": "ISSUER", "model_id": "t",
         "source_type": "PROFILE"}]"#;
    let parse = |json: &str| Space::from_json(EntityType::Issuer, Fusion::Concat, json);
    let space = parse(json).unwrap();
    let (numbers, words) = (bytes(&[3.0, 4.0, 9.0]), bytes(&[0.0, 2.0]));
    let fused = space.fuse(&[Some(&numbers), Some(&words)]).unwrap().unwrap();
    let values: Vec<f32> = VectorRef::new(&fused.vector).unwrap().values().collect();
    let root = 0.75f64.sqrt();
    assert_eq!(values[..4], [(0.6 * root) as f32, (0.8 * root) as f32, 0.0, 0.5]);
    assert_eq!((values.len(), fused.used), (JOINT_DIM, 0b11));
    let alone = space.fuse(&[Some(&numbers), None]).unwrap().unwrap();
    assert_eq!(alone.used, 0b01);
    assert_eq!(space.fuse(&[None, Some(&words)]).unwrap(), None);
    assert_eq!(space.fuse(&[Some(&bytes(&[0.0, 0.0])), Some(&words)]).unwrap(), None);
    for (from, to, key) in [
        ("\"dims\": 2, \"table\": \"num", "\"table\": \"num", "branches[0].dims"),
        ("\"dims\": 2, \"table\": \"num", "\"dims\": 0, \"table\": \"num", "branches[0].dims"),
        ("\"dims\": 2, \"table\": \"num", "\"dims\": 65535, \"table\": \"num", "branches.dims"),
        ("\"weight\": 3", "\"weight\": 0", "branches[0].weight"),
    ] {
        match parse(&json.replacen(from, to, 1)) {
            Err(Error::InvalidSpace { key: found, .. }) => assert_eq!(found, key, "{to}"),
            other => panic!("{to} gave {other:?}"),
        }
    }
    let placed = PROFILE.replace("\"name\": \"text\"", "\"name\": \"text\", \"dims\": 3");
    let blend = Space::from_json(EntityType::Issuer, Fusion::Blend, &placed);
    assert!(blend.is_err());
}

#[test]
fn many_keys_are_fused_as_each_would_be_alone() {
    let json = r#"[
        {"name": "numbers", "required": true, "dims": 6, "seed": 3, "fusion": "average", "branches": [
            {"name": "one", "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "n"},
            {"name": "two", "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "m"}]},
        {"name": "words", "dims": 2, "table": "text_embeddings", "entity_type": "ISSUER", "model_id": "t",
         "source_type": "PROFILE"}]"#;
    let space = Space::from_json(EntityType::Issuer, Fusion::Concat, json).unwrap();
    let vector = |key: usize, leaf: usize| -> Option<Vec<u8>> {
        let dim = if key % 5 == leaf { 9 } else { 20 };
        let value = |i: usize| ((key * 60 + leaf * 20 + i) as f32).sin();
        (key % 7 != leaf).then(|| bytes(&(0..dim).map(value).collect::<Vec<_>>()))
    };
    let stored: Vec<Vec<_>> = (0..40).map(|key| (0..3).map(|leaf| vector(key, leaf)).collect()).collect();
    let keys: Vec<Vec<_>> = stored.iter().map(|key| key.iter().map(Option::as_deref).collect()).collect();
    let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
    let alone: Vec<_> = keys.iter().map(|vectors| space.fuse(vectors)).collect();
    assert_eq!(space.fuse_all(&keys), alone);
    assert!(alone.iter().any(Result::is_err) && alone.iter().any(|fused| matches!(fused, Ok(Some(_)))));
    assert_eq!(space.fuse_all(&[]), []);
}
