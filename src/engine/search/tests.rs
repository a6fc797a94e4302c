//! Tests of the search room: against a full sort, and of what cannot be ranked.

use super::*;
use crate::engine::vector::{cosine_similarity, euclidean_distance};
use proptest::prelude::*;

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Offers `vectors[i]` under key and row `i`.
fn offer(top: &mut TopK, rows: impl Iterator<Item = (usize, Vec<u8>)>) {
    for (index, vector) in rows {
        match top.judge(&vector) {
            Verdict::Contender { cosine, distance } => {
                let (key, payload) = (format!("id{index:05}").into(), "{}".into());
                top.keep(Hit { cosine, distance, key, row: index as i64, day: 0, payload }).unwrap();
            }
            other => top.leave_out(other),
        }
    }
}

fn sorted(query: &[u8], vectors: &[Vec<u8>], k: usize) -> Vec<(f64, f64, i64)> {
    let query = VectorRef::new(query).unwrap();
    let mut all: Vec<(f64, f64, i64)> = vectors
        .iter()
        .enumerate()
        .filter(|(_, v)| VectorRef::new(v).unwrap().count_non_finite() == 0)
        .map(|(i, v)| {
            let v = VectorRef::new(v).unwrap();
            (cosine_similarity(query, v).unwrap(), euclidean_distance(query, v).unwrap(), i as i64)
        })
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
    all.truncate(k);
    all
}

fn found(top: TopK) -> Vec<(f64, f64, i64)> {
    top.into_sorted().into_iter().map(|hit| (hit.cosine, hit.distance, hit.row)).collect()
}

proptest! {
    #[test]
    fn the_heap_equals_a_full_sort_however_rows_are_split(
        // Small integers: many ties of cosine and distance.
        vectors in prop::collection::vec(prop::collection::vec(-2_i8..3, 3), 0..120),
        query in prop::collection::vec(-2_i8..3, 3),
        k in 1_usize..130,
        workers in 1_usize..5,
    ) {
        let float = |v: &Vec<i8>| bytes(&v.iter().map(|&x| f32::from(x)).collect::<Vec<_>>());
        let vectors: Vec<Vec<u8>> = vectors.iter().map(float).collect();
        let query = float(&query);
        let expected = sorted(&query, &vectors, k);
        let new = || TopK::new(VectorRef::new(&query).unwrap(), k as i64).unwrap();
        let mut all = new();
        for worker in 0..workers {
            let mut part = new();
            let mine = vectors.iter().cloned().enumerate().skip(worker).step_by(workers);
            offer(&mut part, mine);
            let mut packed = vec![0; part.packed_len()];
            part.pack(&mut packed);
            all.merge(&TopK::unpack(&packed).unwrap()).unwrap();
        }
        prop_assert_eq!(found(all), expected);
    }

    #[test]
    fn scores_are_those_of_the_sql_functions(
        pairs in prop::collection::vec((-1e3_f32..1e3, -1e3_f32..1e3), 1..400)
    ) {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let (a, b) = (bytes(&a), bytes(&b));
        let (x, y) = (VectorRef::new(&a).unwrap(), VectorRef::new(&b).unwrap());
        let verdict = TopK::new(x, 1).unwrap().judge(&b);
        let (cosine, distance) = (cosine_similarity(x, y).unwrap(), euclidean_distance(x, y).unwrap());
        prop_assert_eq!(verdict, Verdict::Contender { cosine, distance });
    }

    #[test]
    fn bytes_of_any_kind_are_no_list_or_a_sound_one(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(list) = TopK::unpack(&bytes) {
            prop_assert!(list.kept.len() <= list.k);
        }
    }
}

#[test]
fn what_cannot_be_ranked_is_counted() {
    let query = bytes(&[1.0, 0.0]);
    let mut top = TopK::new(VectorRef::new(&query).unwrap(), 10).unwrap();
    let rows = [
        bytes(&[f32::NAN, 0.0]),
        bytes(&[1.0, f32::NEG_INFINITY]),
        bytes(&[1.0]),
        bytes(&[1.0, 2.0, 3.0]),
        vec![],
        vec![1, 2, 3],
        bytes(&[0.0, 0.0]),
        bytes(&[f32::MAX, f32::MAX]),
    ];
    offer(&mut top, rows.into_iter().enumerate());
    assert_eq!(top.left_out(), LeftOut { no_vector: 2, other_dim: 2, non_finite: 2 });
    assert_eq!(top.left_out().total(), 6);
    let kept = found(top);
    assert_eq!(kept.iter().map(|hit| hit.2).collect::<Vec<_>>(), [7, 6]);
    assert_eq!(kept[1].0, 0.0, "a zero vector is like nothing");
}

#[test]
fn a_query_that_nothing_compares_to_is_refused() {
    let query = bytes(&[1.0, f32::NAN]);
    let refused = TopK::new(VectorRef::new(&query).unwrap(), 1);
    assert!(matches!(refused, Err(Error::NonFiniteVector { count: 1, dim: 2 })));
    for k in [0, -1, i64::MIN, MAX_TOP_K + 1] {
        assert!(matches!(check_top_k(k), Err(Error::OutOfRange { name: "top_k", .. })));
    }
}

#[test]
fn packed_lists_cut_short_or_lengthened_are_refused() {
    let query = bytes(&[1.0, 0.5]);
    let mut top = TopK::new(VectorRef::new(&query).unwrap(), 3).unwrap();
    offer(&mut top, [bytes(&[0.5, 0.5]), bytes(&[2.0, 1.0])].into_iter().enumerate());
    let mut packed = vec![0; top.packed_len()];
    top.pack(&mut packed);
    assert_eq!(found(TopK::unpack(&packed).unwrap()), found(top));
    for cut in 0..packed.len() {
        assert!(TopK::unpack(&packed[..cut]).is_err(), "{cut}");
    }
    packed.push(0);
    assert_eq!(TopK::unpack(&packed).err(), Some(Error::PackedList { bytes: packed.len() }));
}
