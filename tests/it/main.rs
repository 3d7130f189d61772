//! What only shows over sockets and in processes: one test binary.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod certificates;
mod cli;
mod concurrent;
mod docs;
mod door;
mod dynamo;
mod environments;
mod hostile;
mod identity;
mod keys;
mod lambda;
mod local_door;
mod outbound;
mod permit;
mod process;
mod program;
mod runtime_api;
mod table;
mod table_faults;
mod table_patience;
mod tidy;
mod upstream;
mod web;
mod wire;
