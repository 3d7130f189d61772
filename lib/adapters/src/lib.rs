//! Tollgate's outside world: the doors that requests come in by, and the adapters of the core's ports.
//!
//! Adapters decide nothing. What is served, refused or retried is the core's to say; here bytes change their shape.

use std::sync::Arc;

use tollgate::exchange::Exchange;

pub mod aws;
pub mod door;
pub mod files;
mod pieces;
pub mod settings;
pub mod table;
pub mod telemetry;
pub mod upstream;
pub mod vault;

/// Where a door hands the record of each request, once, when its answer is out.
pub type LogSink = Arc<dyn Fn(&Exchange) + Send + Sync>;
