//! The whole program from outside: one test binary.

#[cfg(test)]
mod door;
#[cfg(test)]
mod lambda;
#[cfg(test)]
mod process;
#[cfg(test)]
mod program;
#[cfg(test)]
mod runtime_api;
