//! Profiles: which items of a collection become which rows, and how rows of one key become one.

pub mod policy;
pub mod row;
pub mod schema;

pub use policy::{Merger, Policy};
pub use row::Row;
pub use schema::{Column, ColumnType, Kind, Schema};
