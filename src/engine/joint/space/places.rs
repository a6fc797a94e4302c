//! Concatenated groups of a space: their places checked, their transforms bound, their vectors put in place.

use std::borrow::Cow;
use std::rc::Rc;

use super::super::super::error::{Error, Result};
use super::super::super::fit::Components;
use super::super::super::vector::{MAX_DIM, VectorRef};
use super::super::concat::Place;
use super::{Branch, Fused, Fusion, JOINT_DIM, Node, Part, invalid};

/// Places are for concatenated groups only, and must fit.
pub(super) fn check_places(key: &str, fusion: Fusion, branches: &[Branch]) -> Result<()> {
    let mut total = 0usize;
    for (index, branch) in branches.iter().enumerate() {
        let key = format!("{key}[{index}]");
        let placed = branch.dims.is_some() || branch.seed.is_some() || branch.transform.is_some();
        match (fusion, branch.dims) {
            (Fusion::Concat, Some(dims)) if (1..=MAX_DIM).contains(&dims) => total += dims,
            (Fusion::Concat, _) => {
                let problem = format!("is required for fusion \"concat\", between 1 and {MAX_DIM}");
                return Err(invalid(format!("{key}.dims"), problem));
            }
            _ if placed => return Err(invalid(key, "has a place, which is for fusion \"concat\" only")),
            _ => {}
        }
        if fusion == Fusion::Concat && branch.weight <= 0.0 {
            return Err(invalid(format!("{key}.weight"), "must be positive for fusion \"concat\""));
        }
    }
    let problem = format!("places have {total} components, more than {MAX_DIM}");
    if total > MAX_DIM { Err(invalid(format!("{key}.dims"), problem)) } else { Ok(()) }
}

pub(super) fn bind<E>(
    nodes: &mut [Node],
    find: &dyn Fn(&str) -> std::result::Result<Components, E>,
) -> std::result::Result<(), E> {
    for node in nodes {
        if let Some(id) = &node.transform {
            node.place.transform = Some(Rc::new(find(id)?));
        }
        if let Part::Group(_, nodes) = &mut node.part {
            bind(nodes, find)?;
        }
    }
    Ok(())
}

/// Places every branch that is there; a vector has at least [`JOINT_DIM`] components.
pub(super) fn concatenate<'a>(nodes: &[Node], parts: Vec<Option<Fused<'a>>>) -> Result<Option<Fused<'a>>> {
    let vectors = parts.iter().map(|part| part.as_ref().map(|part| VectorRef::new(&part.vector)).transpose());
    let vectors = vectors.collect::<Result<Vec<_>>>()?;
    let places: Vec<Place> = nodes.iter().map(|node| node.place.clone()).collect();
    let dims = places.iter().map(|place| place.dims).sum::<usize>().max(JOINT_DIM);
    let mut out = vec![0; dims * 4];
    let present = match super::super::concat::concatenate(&vectors, &places, &mut out) {
        // Vectors without a direction count as missing.
        Err(Error::ZeroWeights) => return Ok(None),
        present => present?,
    };
    let mut used = 0;
    for ((there, part), node) in present.iter().zip(&parts).zip(nodes) {
        match (there, part) {
            (true, Some(part)) => used |= part.used,
            _ if node.required => return Ok(None),
            _ => {}
        }
    }
    Ok(Some(Fused { vector: Cow::Owned(out), used }))
}
