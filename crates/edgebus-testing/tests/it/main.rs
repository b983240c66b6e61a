//! The tests' own tools do what they say: a check that finds nothing must not be blind.

mod history;
mod proxy;
