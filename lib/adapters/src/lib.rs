//! The outside world: doors, the shared table on DynamoDB, upstreams.

pub mod table;
