//! Options as the program itself knows them: the file that it gives as an example, and what it says of what holds.
//!
//! No option is named here: `isonym config example` and `isonym config show` list them.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use isonym_testkit::program::{End, Program};

/// Returns the options of the example file, each as its key and a value.
fn examples(program: &Program) -> Vec<(String, toml::Value)> {
    let end = End::of(&mut program.bare(), ["config", "example"]);
    end.assert_succeeded();
    let options = end.out.lines().filter_map(|line| line.strip_prefix('#'));
    let options = options.filter(|option| !option.starts_with(' '));
    let options: Vec<_> = options
        .map(|option| {
            let mut table: toml::Table = toml::from_str(option).unwrap();
            let (key, value) = table.iter_mut().next().unwrap();
            (key.clone(), value.clone())
        })
        .collect();
    assert!(options.len() > 40, "{options:?}");
    options
}

/// Returns what is said of an option, and makes sure that it and only it was given.
fn shown(command: &mut Command, arguments: &[String], option: &str) -> Value {
    let end = End::of(command.args(["config", "show", "--json"]), arguments);
    let json = end.json();
    let options = json["options"].as_array().unwrap();
    let given = options.iter().filter(|option| option["origin"]["source"] != "default");
    let given: Vec<&Value> = given.filter(|option| option["name"] != "config").collect();
    assert_eq!(given.len(), 1, "{given:?}");
    assert_eq!(given[0]["name"], option);
    assert_eq!(given[0].get("problem"), None, "{}", given[0]);
    given[0].clone()
}

/// Returns a value as the command line and the environment have it.
fn as_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(values) => values.iter().map(as_text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn write(program: &Program, text: &str) -> std::path::PathBuf {
    let file = program.home().join("isonym.toml");
    fs::write(&file, text).unwrap();
    file
}

fn in_file(path: &Path, line: usize) -> Value {
    json!({ "source": "file", "path": path.to_str().unwrap(), "line": line })
}

#[test]
fn the_program_hears_every_option_from_every_source() {
    let program = Program::new();
    for (key, value) in examples(&program) {
        let text = as_text(&value);
        let by_option = shown(&mut program.bare(), &[format!("--{key}={text}")], &key);
        assert_eq!(
            by_option["origin"],
            json!({ "source": "command line", "option": format!("--{key}") })
        );

        let variable = by_option["variable"].as_str().unwrap();
        let by_variable = shown(program.bare().env(variable, &text), &[], &key);
        assert_eq!(
            by_variable["origin"],
            json!({ "source": "environment", "variable": variable })
        );

        let file = write(&program, &format!("# A comment.\n\n{key} = {value}\n"));
        let by_file = shown(program.bare().env("ISONYM_CONFIG", &file), &[], &key);
        assert_eq!(by_file["origin"], in_file(&file, 3));

        let values = [&by_option, &by_variable, &by_file].map(|option| option["value"].clone());
        assert_eq!(values[0], values[1], "{key}");
        assert_eq!(values[0], values[2], "{key}");
        assert_eq!(values[0].is_null(), by_option["secret"] == true, "{key}");
    }
}

#[test]
fn the_example_has_every_option_that_is_shown() {
    let program = Program::new();
    let examples = examples(&program);
    let end = End::of(&mut program.bare(), ["config", "show", "--json"]);
    end.assert_succeeded();
    let json = end.json();
    let names = json["options"]
        .as_array()
        .unwrap()
        .iter()
        .map(|option| option["name"].as_str().unwrap());
    let mut names: Vec<&str> = names.filter(|name| *name != "config").collect();
    let mut keys: Vec<&str> = examples.iter().map(|(key, _)| key.as_str()).collect();
    names.sort_unstable();
    keys.sort_unstable();
    assert_eq!(names, keys);
}

#[test]
fn an_example_that_is_uncommented_is_a_configuration() {
    let program = Program::new();
    let end = End::of(&mut program.bare(), ["config", "example"]);
    let lines = end.out.lines().map(|line| match line.strip_prefix('#') {
        Some(option) if !option.starts_with(' ') => option,
        _ => line,
    });
    let file = write(&program, &lines.collect::<Vec<_>>().join("\n"));
    let end = End::of(program.bare().arg("--config").arg(&file), ["config", "show", "--json"]);
    for option in end.json()["options"].as_array().unwrap() {
        assert_eq!(option.get("problem"), None, "{option}");
        if option["name"] != "config" && option.get("gave_way").is_none() {
            assert_eq!(option["origin"]["source"], "file", "{option}");
        }
    }
    // As it comes it says nothing at all.
    let file = write(&program, &End::of(&mut program.bare(), ["config", "example"]).out);
    let end = End::of(program.bare().arg("--config").arg(&file), ["config", "show"]);
    end.assert_succeeded();
    assert!(!end.out.contains("isonym.toml:"), "{}", end.out);
}

#[test]
fn what_is_wrong_stands_beside_the_option() {
    let program = Program::new();
    let file = write(&program, "quorum = 0\ncolour = 1\ndirect = true\n");
    let command = || {
        let mut command = program.bare();
        let variables = [("ISONYM_RPC_PASSWORD", "marker-of-the-password"), ("ISONYM_PROXI", "x")];
        command.arg("--config").arg(&file).envs(variables);
        command
    };
    let end = End::of(&mut command(), ["config", "show"]);
    assert_eq!(end.status, Some(1), "{end:?}");
    let path = file.display();
    for words in [
        &format!("{path}:1: quorum = 0: give a number from 1 to 8"),
        &format!("{path}:2: unknown field `colour`"),
        &format!("# {path}:3\n"),
        "ISONYM_RPC_PASSWORD and --rpc-user go together",
        "did you mean ISONYM_PROXY?",
        "rpc-password = (secret)",
    ] {
        assert!(end.out.contains(words), "no {words:?} in {}", end.out);
    }
    assert!(!end.out.contains("marker"), "{end:?}");
    let end = End::of(&mut command(), ["config", "show", "--json"]);
    assert_eq!((end.status, end.out.contains("marker")), (Some(1), false), "{end:?}");
    assert_eq!(end.json()["problems"].as_array().unwrap().len(), 2);

    let end = End::of(command().arg("--proxy=socks5://[::1]:9"), ["config", "show"]);
    assert!(end.out.contains(":3 gave way"), "{}", end.out);
}

#[test]
fn a_configuration_file_that_can_not_be_named_or_read_is_told() {
    let program = Program::new();
    let show = |file: &str| End::of(&mut program.bare(), ["config", "show", "--config", file]);
    for (file, words) in [
        ("~nobody/x", "problem: --config ~nobody/x"),
        ("/nowhere", "cannot read"),
    ] {
        let end = show(file);
        assert_eq!(end.status, Some(1), "{end:?}");
        assert!(end.out.contains(words), "{end:?}");
        End::of(&mut program.bare(), ["status", "--config", file]).assert_failed(&[file]);
    }
}

#[test]
fn completions_and_manual_pages_have_every_command() {
    let program = Program::new();
    let help = End::of(&mut program.bare(), ["--help"]).out;
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let end = End::of(&mut program.bare(), ["completions", shell]);
        end.assert_succeeded();
        for command in &commands {
            assert!(end.out.contains(command), "{shell}: {command}");
        }
    }
    let folder = program.home().join("man1");
    let end = End::of(program.bare().arg("man"), [&folder]);
    end.assert_succeeded();
    for command in &commands {
        let page = fs::read_to_string(folder.join(format!("isonym-{command}.1"))).unwrap();
        assert!(page.starts_with(".ie"), "{page}");
    }
    let end = End::of(program.bare().arg("man"), ["/dev/null/x"]);
    end.assert_failed(&["cannot write manual pages to /dev/null/x"]);
}

#[test]
fn an_option_that_a_command_can_not_heed_is_refused() {
    let program = Program::new();
    for command in [
        &["playground", "--once"][..],
        &["config", "example"],
        &["completions", "bash"],
    ] {
        let end = End::of(program.bare().arg("--direct"), command);
        end.assert_failed(&["--direct has no effect here"]);
    }
}
