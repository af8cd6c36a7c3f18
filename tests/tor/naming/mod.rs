//! `.bit` names inside Tor: applications that know nothing of them, a Tor whose streams wait, and the program that says
//! what the names stand for. And at the end of each test: no exit was ever asked for such a name.

mod apart;
mod bare;
mod controllers;
mod life;
mod many;
mod programs;
mod scene;
mod together;
mod ways;
