#![cfg_attr(fuzzing, no_main)]

isonym_fuzz::target!(prop279_line);
