//! Concatenated groups of a space: their places checked, their transforms bound, their vectors put in place.

use std::borrow::Cow;
use std::rc::Rc;

use super::super::super::error::{Error, Result};
use super::super::super::fit::Components;
use super::super::super::vector::{MAX_DIM, VectorRef};
use super::super::concat::{Place, Placed, place_all};
use super::fuse::Gathered;
use super::{Branch, Fused, Fusion, JOINT_DIM, Node, Part, invalid};

/// Places are for concatenated groups only, and must fit.
pub(super) fn check_places(key: &str, fusion: Fusion, branches: &[Branch]) -> Result<()> {
    let mut total = 0usize;
    for (index, branch) in branches.iter().enumerate() {
        let key = format!("{key}[{index}]");
        let fitted = branch.transform.is_some() || branch.center.is_some();
        let placed = branch.dims.is_some() || branch.seed.is_some() || fitted;
        if branch.transform.is_some() && branch.center.is_some() {
            let problem = "cannot be there beside a transform, which takes its own mean off";
            return Err(invalid(format!("{key}.center"), problem));
        }
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

/// Places the branches of every key; a vector has at least [`JOINT_DIM`] components.
pub(super) fn concatenate_all<'a>(nodes: &[Node], keys: Vec<Gathered<'a>>) -> Vec<Result<Option<Fused<'a>>>> {
    let places: Vec<Place> = nodes.iter().map(|node| node.place.clone()).collect();
    let mut columns: Vec<_> =
        places.iter().enumerate().map(|(index, place)| column(&keys, index, place)).collect();
    keys.iter()
        .map(|key| {
            let placed: Vec<_> = columns.iter_mut().filter_map(Iterator::next).collect();
            match key {
                Err(error) => Err(error.clone()),
                Ok(None) => Ok(None),
                Ok(Some(parts)) => concatenate(nodes, &places, parts, placed),
            }
        })
        .collect()
}

/// The branch `index` of every key, in its place.
fn column(keys: &[Gathered<'_>], index: usize, place: &Place) -> std::vec::IntoIter<Result<Placed>> {
    let vectors: Vec<Option<Result<VectorRef<'_>>>> = keys.iter().map(|key| vector(key, index)).collect();
    let sound: Vec<_> = vectors.iter().map(|vector| vector.as_ref()?.as_ref().ok().copied()).collect();
    let mut placed = place_all(&sound, place);
    for (placed, vector) in placed.iter_mut().zip(vectors) {
        if let Some(Err(error)) = vector {
            *placed = Err(error);
        }
    }
    placed.into_iter()
}

fn vector<'k>(key: &'k Gathered<'_>, index: usize) -> Option<Result<VectorRef<'k>>> {
    let parts = key.as_ref().ok()?.as_ref()?;
    parts.get(index)?.as_ref().map(|part| VectorRef::new(&part.vector))
}

fn concatenate<'a>(
    nodes: &[Node],
    places: &[Place],
    parts: &[Option<Fused<'a>>],
    placed: Vec<Result<Placed>>,
) -> Result<Option<Fused<'a>>> {
    let placed = placed.into_iter().collect::<Result<Vec<_>>>()?;
    let dims = places.iter().map(|place| place.dims).sum::<usize>().max(JOINT_DIM);
    let mut out = vec![0; dims * 4];
    match super::super::concat::concatenate(&placed, places, &mut out) {
        // Vectors without a direction count as missing.
        Err(Error::ZeroWeights) => return Ok(None),
        done => done?,
    }
    let mut used = 0;
    for ((placed, part), node) in placed.iter().zip(parts).zip(nodes) {
        match (placed, part) {
            (Some(_), Some(part)) => used |= part.used,
            _ if node.required => return Ok(None),
            _ => {}
        }
    }
    Ok(Some(Fused { vector: Cow::Owned(out), used }))
}
