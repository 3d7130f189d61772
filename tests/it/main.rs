//! The whole program from outside: one test binary.

#[cfg(test)]
mod dynamo;
#[cfg(test)]
mod table;
#[cfg(test)]
mod table_faults;
