//! Vectors as `bytea`: conversion, norms, similarities, padding.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::engine::vector::{self, VectorRef, check_dim};
use crate::engine::{Error, Result};
use crate::pg::ffi::array::NumberArray;
use crate::pg::ffi::bytea::Bytea;
use crate::pg::ffi::page_stream;

type Report<T> = std::result::Result<T, ErrorReport>;

/// Number of dimensions.
#[pg_extern(immutable, strict, parallel_safe, cost = 1)]
fn vector_dim(vector: &[u8]) -> Report<i32> {
    Ok(VectorRef::new(vector)?.dim() as i32)
}

/// Euclidean norm.
#[pg_extern(immutable, strict, parallel_safe, cost = 5)]
fn l2_norm(vector: &[u8]) -> Report<f64> {
    Ok(scanned(vector)?.l2_norm())
}

/// The vector scaled to unit norm; a zero vector stays zero.
#[pg_extern(immutable, strict, parallel_safe, cost = 10)]
fn l2_normalize(vector: &[u8]) -> Report<Bytea> {
    let vector = VectorRef::new(vector)?;
    Ok(Bytea::build(vector.bytes().len(), |out| vector::l2_normalize(vector, out))?)
}

/// Cosine similarity.
#[pg_extern(immutable, strict, parallel_safe, cost = 5)]
fn cosine_sim(a: &[u8], b: &[u8]) -> Report<f64> {
    Ok(vector::cosine_similarity(scanned(a)?, scanned(b)?)?)
}

/// Euclidean distance.
#[pg_extern(immutable, strict, parallel_safe, cost = 5)]
fn euclidean_dist(a: &[u8], b: &[u8]) -> Report<f64> {
    Ok(vector::euclidean_distance(scanned(a)?, scanned(b)?)?)
}

/// Dot product.
#[pg_extern(immutable, strict, parallel_safe, cost = 5)]
fn dot_product(a: &[u8], b: &[u8]) -> Report<f64> {
    Ok(vector::dot_product(scanned(a)?, scanned(b)?)?)
}

/// Components in order.
#[pg_extern(immutable, strict, parallel_safe, cost = 20)]
fn vector_to_array(vector: &[u8]) -> Report<Vec<f32>> {
    Ok(VectorRef::new(vector)?.values().collect())
}

/// The first `dim` components, or the vector followed by zeros.
#[pg_extern(immutable, strict, parallel_safe, cost = 5)]
fn pad_to_dim(vector: &[u8], dim: default!(i32, 384)) -> Report<Bytea> {
    let vector = VectorRef::new(vector)?;
    Ok(padded(dim, |out| {
        let kept = out.len().min(vector.bytes().len());
        out[..kept].copy_from_slice(&vector.bytes()[..kept]);
    })?)
}

/// The first `dim` values as a vector, or all of them followed by zeros.
#[pg_extern(immutable, strict, parallel_safe, cost = 10, name = "pad_to_dim")]
pub fn pad_float8_to_dim(elements: NumberArray<'_, f64>, dim: default!(i32, 384)) -> Report<Bytea> {
    let values = elements.values("elements")?;
    Ok(padded(dim, |out| vector::write_values(values.iter().map(|&v| v as f32), out))?)
}

/// The first `dim` values as a vector, or all of them followed by zeros.
#[pg_extern(immutable, strict, parallel_safe, cost = 10, name = "pad_to_dim")]
fn pad_real_to_dim(elements: NumberArray<'_, f32>, dim: default!(i32, 384)) -> Report<Bytea> {
    let values = elements.values("elements")?;
    Ok(padded(dim, |out| vector::write_values(values.iter().copied(), out))?)
}

/// A vector from its components, rounded to float32.
#[pg_extern(immutable, strict, parallel_safe, cost = 10)]
pub fn vector_from_array(elements: NumberArray<'_, f64>) -> Report<Bytea> {
    let values = elements.values("elements")?;
    Ok(exact(values.len(), values.iter().map(|&v| v as f32))?)
}

/// A vector from its components.
#[pg_extern(immutable, strict, parallel_safe, cost = 10, name = "vector_from_array")]
fn vector_from_real_array(elements: NumberArray<'_, f32>) -> Report<Bytea> {
    let values = elements.values("elements")?;
    Ok(exact(values.len(), values.iter().copied())?)
}

/// A vector that is read from its first component to its last, maybe one of many in a table.
fn scanned(bytes: &[u8]) -> Result<VectorRef<'_>> {
    page_stream::meet(bytes);
    VectorRef::new(bytes)
}

fn exact(dim: usize, values: impl Iterator<Item = f32>) -> Result<Bytea> {
    check_dim(dim)?;
    if dim == 0 {
        return Err(Error::VectorBytes { bytes: 0 });
    }
    Bytea::build(dim * 4, |out| {
        vector::write_values(values, out);
        Ok(())
    })
}

/// `dim * 4` zero bytes, of which `write` fills a part.
fn padded(dim: i32, write: impl FnOnce(&mut [u8])) -> Result<Bytea> {
    let max = vector::MAX_DIM as i64;
    if !(1..=max).contains(&i64::from(dim)) {
        return Err(Error::OutOfRange { name: "dim", value: dim.into(), min: 1, max });
    }
    Bytea::build(dim as usize * 4, |out| {
        write(out);
        Ok(())
    })
}
