//! DynamoDB attribute values.
pub mod number;
