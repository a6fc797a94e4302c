//! Array arguments with their shape. pgrx's own arrays flatten what has several dimensions, so the shape
//! is read here and asked for by whoever wants the values.

use std::marker::PhantomData;
use std::ptr::NonNull;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::report::Fault;

/// A one-dimensional array is all that our functions take; anything else is kept as its dimensions.
#[derive(Debug, Clone, Copy)]
struct Shape {
    dimensions: i32,
    first_null: Option<usize>,
}

impl Shape {
    fn check(self, argument: &'static str) -> Result<(), Fault> {
        if self.dimensions > 1 {
            return Err(Fault::ArrayDimensions { argument, dimensions: self.dimensions });
        }
        match self.first_null {
            Some(position) => Err(Fault::NullElement { argument, position }),
            None => Ok(()),
        }
    }
}

/// A number type whose SQL arrays can be read in place.
pub trait Number: Copy + 'static {}

impl Number for f64 {}
impl Number for f32 {}

/// `double precision[]` or `real[]`, read in place.
#[derive(Debug)]
pub struct NumberArray<'a, T> {
    data: &'a [T],
    shape: Shape,
}

impl<T: Number> NumberArray<'_, T> {
    /// The elements in order, whatever the array's lower bound.
    ///
    /// Errors: more than one dimension (2202E), a NULL element (22004); both name `argument`.
    pub fn values(&self, argument: &'static str) -> Result<&[T], Fault> {
        self.shape.check(argument)?;
        Ok(self.data)
    }
}

pgrx::impl_sql_translatable!(NumberArray<'_, f64>, "double precision[]");
pgrx::impl_sql_translatable!(NumberArray<'_, f32>, "real[]");

// SAFETY: the SQL type is declared as an array of T, which has no padding and any bit pattern.
unsafe impl<'fcx, T: Number> ArgAbi<'fcx> for NumberArray<'fcx, T> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: STRICT functions and Option arguments never reach this with a NULL; pg_detoast_datum
        // yields a full-header array, aligned as palloc and tuples align.
        unsafe {
            let datum = arg.unbox_arg_using_from_datum::<RawArray>();
            let Some(RawArray(array)) = datum else {
                return Self { data: &[], shape: Shape { dimensions: 0, first_null: None } };
            };
            let shape = shape(array);
            let data = if shape.first_null.is_none() && shape.dimensions > 0 {
                let count = pg_sys::ArrayGetNItems(shape.dimensions, dims(array));
                std::slice::from_raw_parts(data_ptr(array).cast::<T>(), usize::try_from(count).unwrap_or(0))
            } else {
                &[]
            };
            Self { data, shape }
        }
    }
}

/// A detoasted array datum.
struct RawArray(NonNull<pg_sys::ArrayType>);

impl FromDatum for RawArray {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller passes an array datum.
        NonNull::new(unsafe { pg_sys::pg_detoast_datum(datum.cast_mut_ptr()) }.cast()).map(Self)
    }
}

unsafe fn dims(array: NonNull<pg_sys::ArrayType>) -> *const i32 {
    // SAFETY: the dimension lengths follow the fixed header (ARR_DIMS).
    unsafe { array.as_ptr().cast::<u8>().add(size_of::<pg_sys::ArrayType>()).cast() }
}

unsafe fn data_ptr(array: NonNull<pg_sys::ArrayType>) -> *const u8 {
    // SAFETY: the caller passes a valid array without NULLs; its data begin after header, dimension
    // lengths and lower bounds, aligned to 8 (ARR_DATA_PTR without bitmap).
    unsafe {
        let header = size_of::<pg_sys::ArrayType>() + 8 * (*array.as_ptr()).ndim as usize;
        array.as_ptr().cast::<u8>().add(header.next_multiple_of(8))
    }
}

unsafe fn shape(array: NonNull<pg_sys::ArrayType>) -> Shape {
    // SAFETY: the caller passes a valid array; a non-zero dataoffset says that a null bitmap follows the
    // bounds, one bit per element, set where the element is present.
    unsafe {
        let head = array.as_ref();
        let count = pg_sys::ArrayGetNItems(head.ndim, dims(array)) as usize;
        let first_null = if head.dataoffset == 0 {
            None
        } else {
            let bitmap = dims(array).add(2 * head.ndim as usize).cast::<u8>();
            (0..count).find(|&i| *bitmap.add(i / 8) & (1 << (i % 8)) == 0).map(|i| i + 1)
        };
        Shape { dimensions: head.ndim, first_null }
    }
}

/// `text[]` or `bytea[]`, elements read in place.
#[derive(Debug)]
pub struct ItemArray<'a, T: ?Sized> {
    items: Vec<Option<&'a [u8]>>,
    shape: Shape,
    kind: PhantomData<T>,
}

pgrx::impl_sql_translatable!(ItemArray<'_, str>, "text[]");
pgrx::impl_sql_translatable!(ItemArray<'_, [u8]>, "bytea[]");

impl ItemArray<'_, [u8]> {
    /// The elements in order. Errors: as [`NumberArray::values`].
    pub fn values(&self, argument: &'static str) -> Result<Vec<&[u8]>, Fault> {
        self.shape.check(argument)?;
        Ok(self.items.iter().copied().flatten().collect())
    }
}

impl ItemArray<'_, str> {
    /// The elements in order. Errors: as [`NumberArray::values`].
    pub fn values(&self, argument: &'static str) -> Result<Vec<&str>, Fault> {
        self.shape.check(argument)?;
        self.items.iter().flatten().map(|item| utf8(item, argument)).collect()
    }

    /// The elements in order, NULLs too. Errors: as [`NumberArray::values`], but for 22004.
    pub fn values_and_nulls(&self, argument: &'static str) -> Result<Vec<Option<&str>>, Fault> {
        Shape { first_null: None, ..self.shape }.check(argument)?;
        self.items.iter().map(|item| item.map(|item| utf8(item, argument)).transpose()).collect()
    }
}

/// Postgres validates text on entry and the extension installs into UTF-8 databases only.
fn utf8<'a>(item: &'a [u8], argument: &'static str) -> Result<&'a str, Fault> {
    std::str::from_utf8(item).map_err(|_| Fault::NotUtf8 { argument })
}

// SAFETY: the SQL type is declared as an array of varlena elements (text or bytea).
unsafe impl<'fcx, T: ?Sized> ArgAbi<'fcx> for ItemArray<'fcx, T> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as for NumberArray; deconstruct_array points into the detoasted array, which lives as
        // long as the call, and elements inside an array are never toasted but may have short headers.
        unsafe {
            let none = Shape { dimensions: 0, first_null: None };
            let datum = arg.unbox_arg_using_from_datum::<RawArray>();
            let Some(RawArray(array)) = datum else {
                return Self { items: Vec::new(), shape: none, kind: PhantomData };
            };
            let shape = shape(array);
            let (mut datums, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
            let element = (*array.as_ptr()).elemtype;
            pg_sys::deconstruct_array(
                array.as_ptr(),
                element,
                -1,
                false,
                b'i' as _,
                &mut datums,
                &mut nulls,
                &mut count,
            );
            let items = (0..usize::try_from(count).unwrap_or(0))
                .map(|i| {
                    if *nulls.add(i) {
                        return None;
                    }
                    let item = (*datums.add(i)).cast_mut_ptr::<pg_sys::varlena>();
                    let item = pg_sys::pg_detoast_datum_packed(item);
                    Some(std::slice::from_raw_parts(
                        pgrx::vardata_any(item).cast::<u8>(),
                        pgrx::varsize_any_exhdr(item),
                    ))
                })
                .collect();
            Self { items, shape, kind: PhantomData }
        }
    }
}
