//! JSON Web Tokens (RFC 7519, RFC 8725).

mod algorithm;
mod jwk;
mod key;
mod key_set;
mod weak;

pub use algorithm::Algorithm;
pub use key_set::KeySet;

#[cfg(test)]
mod tests;
