//! The whole program from outside: one test binary.

#[cfg(test)]
mod dynamo;
#[cfg(test)]
mod table;
