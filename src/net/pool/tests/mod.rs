//! Tests of the pool: rule by rule, in numbers, and as a simulation.

mod driver;
mod rules;
mod simulation;
mod statistics;
