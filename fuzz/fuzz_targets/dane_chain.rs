#![cfg_attr(fuzzing, no_main)]

isonym_fuzz::target!(dane_chain);
