//! The vectors of branches fused, for many keys at a time.

use std::borrow::Cow;

use super::super::super::error::Result;
use super::super::super::vector::VectorRef;
use super::super::{blend, weighted_average};
use super::{Fused, Fusion, Node, Part, places};

/// The parts of a key in a group; None when a required one is missing.
pub(super) type Gathered<'a> = Result<Option<Vec<Option<Fused<'a>>>>>;

pub(super) fn fuse_all<'a>(
    fusion: Fusion,
    nodes: &[Node],
    keys: &[&[Option<&'a [u8]>]],
) -> Vec<Result<Option<Fused<'a>>>> {
    let column = |node: &Node| match &node.part {
        Part::Leaf(index) => {
            let leaf = |vectors: &&[Option<&'a [u8]>]| {
                let vector = vectors.get(*index).copied().flatten();
                Ok(vector.map(|vector| Fused { vector: Cow::Borrowed(vector), used: 1 << index }))
            };
            keys.iter().map(leaf).collect()
        }
        Part::Group(fusion, nodes) => fuse_all(*fusion, nodes, keys),
    };
    let mut columns: Vec<_> = nodes.iter().map(|node| column(node).into_iter()).collect();
    let gathered =
        keys.iter().map(|_| gather(nodes, columns.iter_mut().filter_map(Iterator::next).collect()));
    match fusion {
        Fusion::Concat => places::concatenate_all(nodes, gathered.collect()),
        _ => gathered.map(|parts| parts?.map_or(Ok(None), |parts| average(fusion, nodes, &parts))).collect(),
    }
}

/// The parts of one key, in the order of the nodes: whichever of an error and a missing part comes first decides.
fn gather<'a>(nodes: &[Node], parts: Vec<Result<Option<Fused<'a>>>>) -> Gathered<'a> {
    let mut found = Vec::with_capacity(parts.len());
    for (node, part) in nodes.iter().zip(parts) {
        let part = part?;
        if part.is_none() && node.required {
            return Ok(None);
        }
        found.push(part);
    }
    Ok(Some(found))
}

fn average<'a>(fusion: Fusion, nodes: &[Node], parts: &[Option<Fused<'a>>]) -> Result<Option<Fused<'a>>> {
    // A branch without weight is left out, as if it were missing.
    let there = nodes.iter().zip(parts).filter(|(node, _)| node.weight as f32 > 0.0);
    let found: Vec<(f64, &Fused<'a>)> =
        there.filter_map(|(node, part)| Some((node.weight, part.as_ref()?))).collect();
    if found.is_empty() {
        return Ok(None);
    }
    let used = found.iter().map(|(_, part)| part.used).fold(0, |a, b| a | b);
    let refs: Vec<VectorRef<'_>> =
        found.iter().map(|(_, part)| VectorRef::new(&part.vector)).collect::<Result<_>>()?;
    let weights: Vec<f64> = found.iter().map(|(weight, _)| *weight).collect();
    let mut out = vec![0; refs[0].bytes().len()];
    match (fusion, refs.as_slice()) {
        (Fusion::Identity, [only]) => out.copy_from_slice(only.bytes()),
        (Fusion::Blend, [x, y]) => blend(*x, *y, [weights[0], weights[1]], &mut out)?,
        _ => weighted_average(&refs, &weights, &mut out)?,
    }
    Ok(Some(Fused { vector: Cow::Owned(out), used }))
}
