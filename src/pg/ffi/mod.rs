//! The only room with `unsafe` on the Postgres floor: datums, arrays, aggregate states, set results,
//! interrupts. It exports safe functions and types, and knows neither SQL text nor business rules.
#![allow(unsafe_code)]

pub mod aggregate;
pub mod arena;
pub mod array;
pub mod bytea;
pub mod candidate;
pub mod connect;
pub mod errors;
pub mod guc;
pub mod host;
pub mod interrupts;
pub mod json;
pub mod meeting;
pub mod multi_insert;
pub mod page_stream;
mod pages;
pub mod parallel;
pub mod paths;
pub mod price_row;
pub mod regclass;
pub mod row;
pub mod rowstore;
pub mod scratch;
pub mod staged;
pub mod table_rows;
pub mod tensor_memory;
pub mod transaction;
pub mod wait;
mod wal;
pub mod whole_scan;
