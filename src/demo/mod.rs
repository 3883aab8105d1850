//! The whole product on one machine, with nothing set up: what `lamplighter demo` shows.

pub mod screen;
pub mod terminal;
