//! Tests of the pool: rule by rule, and as a simulation.

mod driver;
mod rules;
mod simulation;
