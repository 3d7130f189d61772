//! The whole program from outside: one test binary.

#[cfg(test)]
mod lambda;
#[cfg(test)]
mod runtime_api;
