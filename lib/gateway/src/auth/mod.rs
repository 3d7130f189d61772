//! Identification: who is calling. So far `auth: none` alone.

mod caller;

pub use caller::{Auth, Caller};
