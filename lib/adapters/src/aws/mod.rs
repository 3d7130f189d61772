//! Who this program is on AWS, and what it signs as that: calls of its own, and requests to upstreams.

mod account;
mod secrets;
mod sign;

pub use account::Account;
pub use secrets::{AwsSecrets, Endpoints};
