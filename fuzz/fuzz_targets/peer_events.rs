#![cfg_attr(fuzzing, no_main)]

isonym_fuzz::target!(peer_events);
