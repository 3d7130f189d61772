//! Tollgate's outside world: the adapters of the core's ports, and the doors through which requests come in.

use std::sync::Arc;

use tollgate::exchange::Exchange;

pub mod door;
pub mod upstream;

/// Where a door writes the record of each request, once, when its answer is out.
pub type LogSink = Arc<dyn Fn(&Exchange) + Send + Sync>;
