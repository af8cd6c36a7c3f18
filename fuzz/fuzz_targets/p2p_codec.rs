#![cfg_attr(fuzzing, no_main)]

isonym_fuzz::target!(p2p_codec);
