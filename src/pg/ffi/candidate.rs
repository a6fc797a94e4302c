//! The arguments of `embed_nearest_step`, each read when it is looked at: of most rows only the vector is.

use pgrx::prelude::*;
use pgrx::varlena;

use super::aggregate::State;
use super::json::RawJsonb;

/// A call of `embed_nearest_step(state, joint_id, as_of_date, entity_scope, vector, query, top_k, filter, exclude)`.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a>(&'a [pg_sys::NullableDatum]);

/// Arguments of the function, as `sql/21_nearest.sql` declares it.
const ARGUMENTS: usize = 9;

impl Candidate<'_> {
    /// The arguments of the running function, which must be the one above.
    pub fn of(fcinfo: &pg_sys::FunctionCallInfo) -> Candidate<'_> {
        // SAFETY: Postgres' call information of the running function, which outlives the call. Nothing is read of
        // it but the arguments, whose types the SQL declaration promises.
        unsafe {
            let given = usize::try_from((**fcinfo).nargs).unwrap_or_default().min(ARGUMENTS);
            Candidate((**fcinfo).args.as_slice(given))
        }
    }
}

impl<'a> Candidate<'a> {
    fn datum(self, index: usize) -> Option<pg_sys::Datum> {
        self.0.get(index).filter(|argument| !argument.isnull).map(|argument| argument.value)
    }

    fn bytes(self, index: usize) -> Option<&'a [u8]> {
        // SAFETY: the argument is a bytea, text or varchar that lives as long as the call.
        self.datum(index).map(|datum| unsafe { bytes_of(datum) })
    }

    /// The aggregate's state, once there is one.
    pub fn state<T>(self) -> Option<State<T>> {
        // SAFETY: only the functions of one aggregate pass this argument, always of one type.
        self.datum(0).and_then(|datum| unsafe { State::from_datum(datum) })
    }

    /// Row id.
    pub fn joint_id(self) -> Option<i64> {
        self.datum(1).map(|datum| datum.value() as i64)
    }

    /// Day of the row, as days since 2000-01-01.
    pub fn day(self) -> Option<i32> {
        self.datum(2).map(|datum| datum.value() as i32)
    }

    /// The row's scope.
    pub fn entity_scope(self) -> Option<RawJsonb> {
        self.datum(3).map(RawJsonb::new)
    }

    /// The row's vector.
    #[inline]
    pub fn vector(self) -> Option<&'a [u8]> {
        self.bytes(4)
    }

    /// What is compared to.
    pub fn query(self) -> Option<&'a [u8]> {
        self.bytes(5)
    }

    /// Results wanted.
    pub fn top_k(self) -> Option<i32> {
        self.datum(6).map(|datum| datum.value() as i32)
    }

    /// What a scope must contain.
    pub fn filter(self) -> Option<RawJsonb> {
        self.datum(7).map(RawJsonb::new)
    }

    /// The identity that is left out.
    pub fn exclude(self) -> Option<&'a [u8]> {
        self.bytes(8)
    }
}

/// What an argument of variable length holds.
///
/// # Safety
///
/// The datum must be a bytea, text or varchar that lives for 'a. What is stored compressed or out of line is read into
/// memory of the call first.
#[inline]
pub(super) unsafe fn bytes_of<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    let pointer = datum.cast_mut_ptr::<pg_sys::varlena>();
    // SAFETY: as above; a header says how long the value behind it is.
    unsafe {
        let plain = varlena::varatt_is_4b_u(pointer)
            || (varlena::varatt_is_1b(pointer) && !varlena::varatt_is_1b_e(pointer));
        let pointer = if plain { pointer } else { pg_sys::pg_detoast_datum_packed(pointer) };
        let len = varlena::varsize_any_exhdr(pointer);
        std::slice::from_raw_parts(varlena::vardata_any(pointer).cast::<u8>(), len)
    }
}
