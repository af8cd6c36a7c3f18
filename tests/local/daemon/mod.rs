//! The daemon as its callers meet it: the real program, over simulated servers and a recording proxy.

mod callers;
mod commands;
mod core_cli;
mod hostile;
mod isolation;
mod last_server;
mod life;
mod metrics;
mod mutations;
mod nowhere;
mod sandbox;
mod servers;
mod trouble;
mod web;
