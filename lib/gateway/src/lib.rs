//! Tollgate's core: the gateway without the outside world.
//!
//! Read [`gateway`] first: `Gateway::serve` is the request's way, top to bottom. This crate knows no AWS, no HTTP
//! client, no Lambda, no environment variable, and no clock but its port. What it needs of the world are four ports,
//! [`table::Table`], [`forward::Upstream`], [`clock::Clock`] and [`secret::Vault`]; the crate `tollgate-adapters` has
//! their adapters.

pub mod access;
pub mod asserted;
pub mod auth;
pub mod bulletin;
pub mod call;
pub mod clock;
pub mod config;
pub mod cors;
mod digits;
pub mod edge;
pub mod exchange;
pub mod expression;
pub mod forward;
pub mod gateway;
pub mod limit;
pub mod mode;
pub mod refusal;
pub mod respond;
pub mod route;
pub mod screen;
pub mod secret;
pub mod table;
pub mod transform;

#[cfg(test)]
mod testkit;
