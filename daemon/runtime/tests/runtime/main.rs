//! Tests of the runtime through its public face, with the drill engine behind it.

mod faults;
mod helpers;
mod pictures;
mod recovering;
mod selections;
mod stopping;
mod system;
mod watching;
