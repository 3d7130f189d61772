//! Doors: where requests come in. A door translates, and decides nothing that a route could.

pub mod lambda;
pub mod local;
