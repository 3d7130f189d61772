//! The ways in: Lambda events, and plain HTTP.

pub mod lambda;
