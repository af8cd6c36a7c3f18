//! Every declared option, walked from the declarations: whether each source is heard, who wins, and what is said of a
//! wrong value. Nothing here names an option but where one is exceptional.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::declare::{Declared, Given, Section, split};
use super::file::ConfigFile;
use super::item::Shape;
use super::*;
use crate::cli::parse_from;
use crate::config::Settings;

/// What the sources say of one option, as texts that they could hold.
#[derive(Clone, Default)]
struct Sources {
    command_line: Vec<String>,
    environment: Vec<(String, String)>,
    file: String,
}

/// The line at which the files of these tests have their option.
const LINE: usize = 3;

fn toml_path() -> Arc<Path> {
    Path::new("/etc/isonym.toml").into()
}

impl Sources {
    fn option(mut self, option: &dyn Declared, text: &str) -> Self {
        self.command_line.push(format!("--{}={text}", option.spec().name));
        self
    }

    fn variable(mut self, option: &dyn Declared, text: &str) -> Self {
        self.environment.push((option.spec().variable(), text.to_owned()));
        self
    }

    /// Puts a value into the file, of the shape that the option has.
    fn key(self, option: &dyn Declared, text: &str) -> Self {
        let value = match option.shape() {
            Shape::Switch | Shape::Number if !text.contains(char::is_control) => text.to_owned(),
            _ => toml::Value::String(text.to_owned()).to_string(),
        };
        self.key_as(option, &value)
    }

    fn key_as(mut self, option: &dyn Declared, value: &str) -> Self {
        let lines = "\n".repeat(LINE - 1);
        self.file = format!("{lines}{} = {value}\n", option.spec().name);
        self
    }

    fn load(&self, command: CommandName) -> Effective {
        let variables = self.environment.iter();
        let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let (environment, unknown) = PartialConfig::from_environment(variables);
        assert_eq!(unknown, []);
        let file = ConfigFile::parse(&toml_path(), &self.file);
        assert!(file.errors.is_empty(), "{:?}", file.errors);
        Effective::join(&[&self.given(command), &environment, &file.config], command)
    }

    /// Parses the command line, unless it says nothing: the parser takes its time.
    fn given(&self, command: CommandName) -> PartialConfig {
        if self.command_line.is_empty() {
            return PartialConfig::default();
        }
        let words = ["isonym"].iter().chain(command.path()).copied().map(OsString::from);
        let mut words: Vec<OsString> = words.collect();
        words.extend(self.command_line.iter().map(OsString::from));
        match command {
            CommandName::NameShow
            | CommandName::NameHistory
            | CommandName::Resolve
            | CommandName::TlsVerify
            | CommandName::TlsPin
            | CommandName::Rpc => {
                words.push("word".into());
            }
            _ => {}
        }
        parse_from(words).unwrap().given
    }

    /// Returns the values of an option and where they come from, as its first command has them.
    #[track_caller]
    fn of(&self, option: &dyn Declared) -> (Vec<String>, Origin) {
        let effective = self.load(option.spec().commands[0]);
        (effective.texts(option).unwrap(), effective.origin(option))
    }
}

fn on_command_line(option: &dyn Declared) -> Origin {
    Origin::CommandLine(option.spec().name)
}

fn in_environment(option: &dyn Declared) -> Origin {
    Origin::Variable(option.spec().variable())
}

fn in_file() -> Origin {
    let path = toml_path();
    Origin::File { path, line: LINE }
}

/// Returns what a text comes to, as values each in the one way that equal values are written in.
fn canonical(option: &dyn Declared, text: &str) -> Vec<String> {
    let given = Given {
        origin: Origin::Default,
        values: Ok(split(option, text.as_ref())),
    };
    option.canonical(&given).unwrap().unwrap()
}

fn default_of(option: &dyn Declared) -> Vec<String> {
    let (texts, origin) = Sources::default().of(option);
    assert_eq!(origin, Origin::Default);
    texts
}

/// Returns two different values.
fn two_samples(option: &dyn Declared) -> (String, String) {
    let samples = option.samples();
    let [first, second, ..] = samples.as_slice() else {
        panic!("{} has no two samples", option.spec().name);
    };
    assert_ne!(canonical(option, first), canonical(option, second));
    (first.clone(), second.clone())
}

/// Options whose values are allowed to stand in a file.
fn of_files() -> impl Iterator<Item = &'static dyn Declared> {
    OPTIONS.iter().copied().filter(|option| option.spec().in_file)
}

#[test]
fn every_option_is_heard_from_the_command_line_of_every_command_that_uses_it() {
    for option in OPTIONS.iter().copied() {
        let commands = option.spec().commands.iter();
        for (command, sample) in commands.zip(option.samples().iter().cycle()) {
            let effective = Sources::default().option(option, sample).load(*command);
            assert_eq!(
                effective.texts(option).unwrap(),
                canonical(option, sample),
                "{command:?}"
            );
            assert_eq!(effective.origin(option), on_command_line(option));
        }
    }
}

#[test]
fn every_value_is_heard_from_the_command_line() {
    for option in OPTIONS.iter().copied() {
        for sample in option.samples() {
            let (texts, origin) = Sources::default().option(option, &sample).of(option);
            assert_eq!((texts, origin), (canonical(option, &sample), on_command_line(option)));
        }
    }
}

#[test]
fn every_option_is_heard_from_the_environment_by_every_command() {
    for option in OPTIONS.iter().copied() {
        for sample in option.samples() {
            let sources = Sources::default().variable(option, &sample);
            for command in CommandName::ALL {
                let effective = sources.load(command);
                assert_eq!(effective.texts(option).unwrap(), canonical(option, &sample));
                assert_eq!(effective.origin(option), in_environment(option), "{command:?}");
            }
        }
    }
}

#[test]
fn every_option_is_heard_from_the_file_by_every_command() {
    for option in of_files() {
        for sample in option.samples() {
            let sources = Sources::default().key(option, &sample);
            for command in CommandName::ALL {
                let effective = sources.load(command);
                assert_eq!(effective.texts(option).unwrap(), canonical(option, &sample));
                assert_eq!(effective.origin(option), in_file(), "{command:?}");
            }
        }
    }
}

#[test]
fn only_the_files_own_name_stays_out_of_the_file() {
    let outside = OPTIONS.iter().filter(|option| !option.spec().in_file);
    let names: Vec<&str> = outside.map(|option| option.spec().name).collect();
    assert_eq!(names, ["config"]);
    let file = ConfigFile::parse(&toml_path(), "config = \"/x\"");
    assert!(matches!(
        file.errors[..],
        [FileError::Misplaced {
            key: "config",
            line: 1,
            ..
        }]
    ));
}

#[test]
fn the_command_line_wins_over_the_environment_over_the_file_over_the_default() {
    for option in of_files() {
        let (one, other) = two_samples(option);
        let name = option.spec().name;
        for (low, high) in [(&one, &other), (&other, &one)] {
            let file = Sources::default().key(option, low);
            assert_eq!(file.of(option), (canonical(option, low), in_file()), "{name}");
            let both = file.variable(option, high);
            assert_eq!(
                both.of(option),
                (canonical(option, high), in_environment(option)),
                "{name}"
            );
            let all = both.option(option, low);
            assert_eq!(
                all.of(option),
                (canonical(option, low), on_command_line(option)),
                "{name}"
            );
            let ends = Sources::default().key(option, low).option(option, high);
            assert_eq!(
                ends.of(option),
                (canonical(option, high), on_command_line(option)),
                "{name}"
            );
        }
    }
}

#[test]
fn no_is_heard_from_every_source_over_a_yes_below() {
    for option in OPTIONS.iter().copied().filter(|option| option.shape() == Shape::Switch) {
        let no = vec!["false".to_owned()];
        let name = option.spec().name;
        let yes_in_file = Sources::default().key(option, "true");
        let yes_in_both = yes_in_file.clone().variable(option, "1");
        assert_eq!(
            Sources::default().key(option, "false").of(option),
            (no.clone(), in_file()),
            "{name}"
        );
        for word in ["false", "no", "off", "0", "FALSE", "No"] {
            let sources = yes_in_file.clone().variable(option, word);
            assert_eq!(
                sources.of(option),
                (no.clone(), in_environment(option)),
                "{name} {word}"
            );
            let sources = yes_in_both.clone().option(option, word);
            assert_eq!(
                sources.of(option),
                (no.clone(), on_command_line(option)),
                "{name} {word}"
            );
        }
        for word in ["true", "yes", "on", "1", "True"] {
            let sources = Sources::default().key(option, "false").variable(option, word);
            assert_eq!(sources.of(option).0, ["true"], "{name} {word}");
        }
        let mut alone = Sources::default().key(option, "false");
        alone.command_line.push(format!("--{name}"));
        assert_eq!(alone.of(option), (vec!["true".to_owned()], on_command_line(option)));
        let mut denied = yes_in_both.clone();
        denied.command_line.push(format!("--no-{name}"));
        assert_eq!(denied.of(option), (no.clone(), on_command_line(option)));
        // Of the two the last one holds.
        denied.command_line.push(format!("--{name}"));
        assert_eq!(denied.of(option).0, ["true"]);
    }
}

#[test]
fn zero_is_heard_from_every_source_where_it_is_allowed() {
    let mut seen = 0;
    for option in OPTIONS.iter().copied().filter(|option| option.shape() == Shape::Number) {
        if option.spec().bounds.0 > 0 {
            continue;
        }
        seen += 1;
        let zero = vec!["0".to_owned()];
        let (other, _) = two_samples(option);
        assert_eq!(
            Sources::default().key(option, "0").of(option),
            (zero.clone(), in_file())
        );
        let in_both = Sources::default().key(option, &other).variable(option, "0");
        assert_eq!(in_both.of(option), (zero.clone(), in_environment(option)));
        let in_all = Sources::default()
            .key(option, &other)
            .variable(option, &other)
            .option(option, "0");
        assert_eq!(in_all.of(option), (zero.clone(), on_command_line(option)));
    }
    assert!(seen > 0);
}

#[test]
fn an_empty_value_clears_what_a_lower_source_says() {
    for option in OPTIONS.iter().copied() {
        let default = default_of(option);
        let sample = option.samples().remove(0);
        let cleared = Sources::default().variable(option, "");
        assert_eq!(cleared.of(option), (default.clone(), in_environment(option)));
        if option.spec().in_file {
            let cleared = Sources::default().key(option, &sample).variable(option, "");
            assert_eq!(cleared.of(option), (default.clone(), in_environment(option)));
        }
        if option.shape() != Shape::Text {
            continue;
        }
        let cleared = Sources::default().variable(option, &sample).option(option, "");
        assert_eq!(cleared.of(option), (default.clone(), on_command_line(option)));
        if option.spec().in_file {
            let empty = Sources::default().key(option, "");
            assert_eq!(empty.of(option), (default.clone(), in_file()));
        }
        if option.is_many() {
            let empty = Sources::default().key_as(option, "[]");
            assert_eq!(empty.of(option), (default, in_file()));
        }
    }
}

#[test]
fn several_values_are_heard_from_every_source() {
    for option in OPTIONS.iter().copied().filter(|option| option.is_many()) {
        let (one, other) = two_samples(option);
        let both = [canonical(option, &one), canonical(option, &other)].concat();
        let joined = format!("{one}{}{other}", option.spec().separator);
        let twice = Sources::default().option(option, &one).option(option, &other);
        assert_eq!(twice.of(option).0, both);
        assert_eq!(Sources::default().option(option, &joined).of(option).0, both);
        assert_eq!(Sources::default().variable(option, &joined).of(option).0, both);
        let array = toml::Value::from(vec![one, other]).to_string();
        assert_eq!(Sources::default().key_as(option, &array).of(option).0, both);
    }
}

#[test]
fn a_wrong_value_is_told_with_its_origin_and_what_is_allowed() {
    for option in OPTIONS.iter().copied() {
        let (bad, spec) = (option.bad(), option.spec());
        let in_key = spec.in_file.then(|| (Sources::default().key(option, &bad), in_file()));
        let wrong = [
            (Sources::default().option(option, &bad), on_command_line(option)),
            (Sources::default().variable(option, &bad), in_environment(option)),
        ];
        for (sources, origin) in wrong.into_iter().chain(in_key) {
            let effective = sources.load(spec.commands[0]);
            let error = effective.texts(option).unwrap_err();
            assert_eq!((error.option, &error.origin), (spec.name, &origin));
            assert_eq!(error.allowed, option.allowed());
            let words = error.to_string();
            assert!(words.contains(&origin.to_string()), "{words}");
            if matches!(error.problem, origin::Problem::NotAllowed) {
                assert!(words.ends_with(&format!("give {}", option.allowed())), "{words}");
            }
            if spec.is_secret {
                assert!(error.value.is_none() && !words.contains(&bad), "{words}");
            }
        }
    }
}

#[test]
fn secrets_are_not_shown_when_settings_are_debugged() {
    let secrets = || OPTIONS.iter().copied().filter(|option| option.spec().is_secret);
    assert!(secrets().count() > 1);
    for option in secrets() {
        let mut sources = Sources::default().option(option, "marker");
        if option.spec().name == table::RPC_PASSWORD.spec().name {
            sources = sources.option(&table::RPC_USER, "me");
        }
        let settings = Settings::of(sources.load(option.spec().commands[0])).unwrap();
        assert!(!format!("{settings:?}").contains("marker"), "{}", option.spec().name);
        assert!(settings.explicit(option.spec().name).is_some());
        assert!(
            settings
                .effective()
                .iter()
                .all(|(name, text, _)| *name != option.spec().name && text != "marker")
        );
        let cli = parse_from(["isonym", "config", "show", &format!("--{}=marker", option.spec().name)]).unwrap();
        assert!(!format!("{cli:?}").contains("marker"), "{}", option.spec().name);
    }
}

#[test]
fn a_file_s_value_of_another_shape_is_none() {
    for option in of_files() {
        for value in ["1979-05-27", "1.5", "{ a = 1 }", "[[]]"] {
            let effective = Sources::default().key_as(option, value).load(option.spec().commands[0]);
            let error = effective.texts(option).unwrap_err();
            assert_eq!(error.origin, in_file());
            assert_eq!(error.to_string().contains(value), !option.spec().is_secret, "{error}");
        }
        let value = if option.shape() == Shape::Text { "1" } else { "\"1\"" };
        let effective = Sources::default().key_as(option, value).load(option.spec().commands[0]);
        assert!(effective.texts(option).is_err(), "{}", option.spec().name);
    }
}

/// Also shows that each option has an effect: one that nobody asked for would stop nobody.
#[test]
fn a_wrong_value_stops_only_commands_that_use_the_option() {
    for option in of_files() {
        let spec = option.spec();
        let mut sources = Sources::default();
        if spec.name != table::RPC_URL.spec().name {
            // Some are only looked at where a server is named.
            sources = sources.variable(&table::RPC_URL, "http://127.0.0.1:1");
        }
        let sources = sources.variable(option, &option.bad());
        for command in CommandName::ALL {
            let settings = Settings::of(sources.load(command));
            let stopped_by = settings
                .err()
                .map(|error| error.downcast::<ValueError>().unwrap().option);
            let expected = spec.is_used_by(command).then_some(spec.name);
            assert_eq!(stopped_by, expected, "{command:?}");
        }
    }
}

#[test]
fn an_option_of_the_command_line_is_refused_by_a_command_that_does_not_use_it() {
    for command in CommandName::ALL {
        for option in OPTIONS.iter().copied() {
            let (name, is_used) = (option.spec().name, option.spec().is_used_by(command));
            let mut said = PartialConfig::default();
            let given = Given {
                origin: Origin::CommandLine(name),
                values: Ok(Vec::new()),
            };
            said.insert(option, given);
            let refused = said.check_used(command).err().map(|error| error.to_string());
            let words = format!("--{name} has no effect on `isonym {}`", command.path().join(" "));
            assert_eq!(refused.is_none(), is_used, "{words}");
            assert!(refused.is_none_or(|refused| refused.starts_with(&words)), "{words}");
        }
    }
}

#[test]
fn options_of_every_command_may_stand_before_and_behind_it() {
    for option in OPTIONS
        .iter()
        .copied()
        .filter(|option| option.spec().section == Section::Every)
    {
        let (one, other) = two_samples(option);
        let name = option.spec().name;
        let texts = |words: &[&str]| {
            let given = parse_from(words).unwrap().given;
            let effective = Effective::join(&[&given], CommandName::AnchorCheck);
            effective.texts(option).unwrap()
        };
        let (one_said, other_said) = (format!("--{name}={one}"), format!("--{name}={other}"));
        for words in [
            ["isonym", &one_said, "anchor", "check"],
            ["isonym", "anchor", &one_said, "check"],
            ["isonym", "anchor", "check", &one_said],
        ] {
            assert_eq!(texts(&words), canonical(option, &one), "{words:?}");
        }
        let both = texts(&["isonym", &one_said, "anchor", "check", &other_said]);
        if option.is_many() {
            assert_eq!(both, [canonical(option, &one), canonical(option, &other)].concat());
        } else {
            assert_eq!(both, canonical(option, &other), "what stands behind wins");
        }
    }
}

#[test]
fn the_declarations_hold_together() {
    let mut names: Vec<&str> = OPTIONS.iter().map(|option| option.spec().name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), OPTIONS.len(), "a name stands twice");
    for option in OPTIONS {
        let spec = option.spec();
        assert!(!spec.commands.is_empty(), "{} is used by nobody", spec.name);
        assert!(!spec.help.ends_with('.') && !spec.help.contains('\n'), "{}", spec.name);
        assert!(spec.more.is_empty() || spec.more.ends_with('.'), "{}", spec.name);
        for (command, _) in spec.aliases {
            assert!(spec.commands.contains(command), "{}", spec.name);
        }
    }
}

#[test]
fn the_example_file_has_every_option_and_parses_when_uncommented() {
    let text = example();
    let nothing = ConfigFile::parse(&toml_path(), &text);
    assert!(nothing.errors.is_empty());
    let uncommented: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(option) if !option.starts_with(' ') => option,
            _ => line,
        })
        .collect();
    let file = ConfigFile::parse(&toml_path(), &uncommented.join("\n"));
    assert!(file.errors.is_empty(), "{:?}", file.errors);
    for option in OPTIONS.iter().copied() {
        assert!(nothing.config.get(option).is_none());
        let given = file.config.get(option);
        assert_eq!(given.is_some(), option.spec().in_file, "{}", option.spec().name);
        if let Some(given) = given {
            option.canonical(given).unwrap();
        }
    }
}

#[test]
fn a_default_that_is_shown_is_the_one_that_holds() {
    for option in of_files().filter(|option| option.spec().default_words.is_none()) {
        let default = default_of(option);
        if default.is_empty() {
            continue;
        }
        let given = Sources::default().option(option, &default.join(&option.spec().separator.to_string()));
        assert_eq!(given.of(option).0, default, "{}", option.spec().name);
    }
}

#[test]
fn unknown_keys_and_variables_are_told_with_the_nearest_one() {
    let file = ConfigFile::parse(&toml_path(), "\nservers = []\ncolour = 1\n");
    let words: Vec<String> = file.errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        words[0],
        "/etc/isonym.toml:2: unknown field `servers`; did you mean `server`?"
    );
    assert!(
        words[1].starts_with("/etc/isonym.toml:3: unknown field `colour`"),
        "{words:?}"
    );
    for option in OPTIONS.iter().copied() {
        let name = format!("{}S", option.spec().variable());
        let (given, unknown) = PartialConfig::from_environment([(name.clone().into(), "x".into())]);
        assert!(given.get(option).is_none());
        assert_eq!(unknown[0].nearest, Some(option.spec().variable()), "{name}");
    }
    let (_, unknown) = PartialConfig::from_environment([("OTHER".into(), "x".into())]);
    assert_eq!(unknown, []);
}

#[test]
fn a_file_that_is_no_toml_is_told_by_its_line_but_not_its_text() {
    let file = ConfigFile::parse(&toml_path(), "network = \"regtest\"\nrpc-password = secret\n");
    let words = file.errors[0].to_string();
    assert!(
        words.starts_with("/etc/isonym.toml:2: ") && !words.contains("secret"),
        "{words}"
    );
}

mod relations {
    use super::*;

    fn effective(command: CommandName, options: &[&str], variables: &[(&str, &str)], file: &str) -> Effective {
        let sources = Sources {
            command_line: options.iter().map(|text| (*text).to_owned()).collect(),
            environment: variables
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
            file: file.to_owned(),
        };
        sources.load(command)
    }

    fn error(effective: &Effective) -> String {
        effective.check_relations().unwrap_err().to_string()
    }

    #[test]
    fn of_one_source_neither_rival_wins() {
        let file = "direct = true\nproxy = \"socks5://127.0.0.1:9\"\n";
        for (options, variables, file, words) in [
            (
                &["--direct", "--proxy=socks5://[::1]:9"][..],
                &[][..],
                "",
                "--direct and --proxy exclude each other",
            ),
            (
                &[],
                &[("ISONYM_DIRECT", "1"), ("ISONYM_PROXY", "socks5://[::1]:9")],
                "",
                "ISONYM_DIRECT and ISONYM_PROXY exclude each other",
            ),
            (
                &[],
                &[],
                file,
                "/etc/isonym.toml:1: direct and /etc/isonym.toml:2: proxy exclude each other",
            ),
        ] {
            let found = error(&effective(CommandName::Status, options, variables, file));
            assert!(found.starts_with(words), "{found}");
        }
    }

    #[test]
    fn a_higher_source_makes_a_rival_give_way() {
        let direct = |effective: &Effective| effective.get(&table::DIRECT).unwrap();
        let file = "direct = true\n";
        let proxy = &[("ISONYM_PROXY", "socks5://[::1]:9")];
        let by_proxy = effective(CommandName::Status, &[], proxy, file);
        assert!(!direct(&by_proxy));
        assert!(by_proxy.gave_way(&table::DIRECT).is_some_and(Origin::is_file));
        by_proxy.check_relations().unwrap();
        let by_direct = effective(CommandName::Status, &["--direct"], proxy, file);
        assert!(direct(&by_direct));
        assert_eq!(by_direct.origin(&table::PROXY), Origin::Default);
        // What comes to the same as nothing makes nobody give way.
        let denied = effective(CommandName::Status, &["--no-direct"], proxy, "");
        assert_eq!(
            denied.origin(&table::PROXY),
            Origin::Variable("ISONYM_PROXY".to_owned())
        );
        let cleared = effective(CommandName::Status, &["--proxy="], &[], file);
        assert!(direct(&cleared));
    }

    #[test]
    fn a_pair_of_the_file_is_not_mixed_with_another_ones_half() {
        let file = "rpc-user = \"one\"\nrpc-password = \"secret\"\n";
        let mixed = effective(CommandName::Rpc, &[], &[("ISONYM_RPC_USER", "other")], file);
        assert_eq!(
            error(&mixed),
            "ISONYM_RPC_USER and --rpc-password go together; give both or none"
        );
        let both = [("ISONYM_RPC_PASSWORD", "secret")];
        effective(CommandName::Rpc, &["--rpc-user=me"], &both, file)
            .check_relations()
            .unwrap();
    }

    #[test]
    fn what_belongs_to_another_option_needs_it() {
        let file = "\nrpc-cookie = \"/x\"\n";
        let lonely = effective(CommandName::Dns, &[], &[], file);
        assert_eq!(
            error(&lonely),
            "/etc/isonym.toml:2: rpc-cookie goes with --rpc-url, which is not given"
        );
        // It is no concern of a command that asks nobody.
        effective(CommandName::Daemon, &[], &[], file)
            .check_relations()
            .unwrap();
        let keys = effective(CommandName::Daemon, &["--dnssec=/x"], &[], "");
        assert_eq!(error(&keys), "--dnssec goes with --dns-listen, which is not given");
        // The DNS server listens in any case.
        effective(CommandName::Dns, &["--dnssec=/x"], &[], "")
            .check_relations()
            .unwrap();
    }

    #[test]
    fn a_pair_that_a_command_does_not_use_together_stays() {
        let login = [("ISONYM_RPC_USER", "me"), ("ISONYM_RPC_PASSWORD", "secret")];
        let file = "rpc-url = \"http://127.0.0.1:1\"\nrpc-cookie = \"/x\"\n";
        let daemon = effective(CommandName::Daemon, &[], &login, file);
        assert!(daemon.get(&table::RPC_USER).unwrap().is_some());
        let dns = effective(CommandName::Dns, &[], &login, file);
        assert!(dns.get(&table::RPC_USER).unwrap().is_some());
        assert!(dns.get(&table::RPC_COOKIE).unwrap().is_none());
    }
}

mod effects {
    use isonym::dns::resolver::Anonymous;
    use isonym::name::Encoding;

    use super::*;

    fn settings(command: CommandName, variables: &[(&str, &str)], file: &str) -> Settings {
        let sources = Sources {
            command_line: Vec::new(),
            environment: variables
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
            file: file.to_owned(),
        };
        Settings::of(sources.load(command)).unwrap()
    }

    #[test]
    fn the_dns_server_hears_that_anonymous_callers_are_to_be_apart() {
        let anonymous = |value, file| {
            settings(CommandName::Dns, &[("ISONYM_ISOLATE_ANONYMOUS", value)], file)
                .dns
                .anonymous
        };
        assert_eq!(anonymous("true", ""), Anonymous::Apart);
        assert_eq!(anonymous("false", "isolate-anonymous = true\n"), Anonymous::Together);
        assert_eq!(anonymous("1", "dns-isolate = \"port\"\n"), Anonymous::ByPort);
        assert_eq!(
            settings(CommandName::Dns, &[], "isolate-anonymous = true\n")
                .dns
                .anonymous,
            Anonymous::Apart
        );
    }

    #[test]
    fn every_command_hears_what_it_uses_from_the_environment() {
        let daemon = settings(CommandName::Daemon, &[("ISONYM_VALUE_ENCODING", "hex")], "");
        assert_eq!(daemon.value_encoding, Encoding::Hex);
        assert_eq!(settings(CommandName::Resolve, &[("ISONYM_QUORUM", "3")], "").quorum, 3);
    }

    #[test]
    fn fronts_that_run_alone_listen_where_their_defaults_are() {
        let listens = |command| {
            let settings = settings(command, &[], "");
            (
                settings.dns.listen,
                settings.socks.listen,
                settings.tor.control.is_some(),
            )
        };
        let port = |port| vec![std::net::SocketAddr::from(([127, 0, 0, 1], port))];
        assert_eq!(listens(CommandName::Daemon), (Vec::new(), Vec::new(), false));
        assert_eq!(listens(CommandName::Dns), (port(5300), Vec::new(), false));
        assert_eq!(listens(CommandName::Socks), (Vec::new(), port(9052), false));
        assert_eq!(listens(CommandName::Tor), (Vec::new(), Vec::new(), true));
    }

    #[test]
    fn what_was_said_is_told_with_its_origin() {
        let variables = [
            ("ISONYM_PROXY", "SOCKS5://localhost:9150/"),
            ("ISONYM_SERVER", "b.example:2:t,A.example:1"),
        ];
        let settings = settings(CommandName::Sync, &variables, "quorum = 1\n");
        let proxy = Origin::Variable("ISONYM_PROXY".to_owned());
        assert_eq!(settings.explicit("proxy"), Some(proxy.clone()));
        assert_eq!(settings.explicit("quorum").map(|origin| origin.is_file()), Some(true));
        assert_eq!(settings.explicit("direct"), None);
        let server = Origin::Variable("ISONYM_SERVER".to_owned());
        assert!(
            settings
                .effective()
                .contains(&("server", "b.example:2:t,a.example:1:s".to_owned(), server))
        );
        assert!(
            settings
                .effective()
                .contains(&("proxy", "socks5://127.0.0.1:9150".to_owned(), proxy))
        );
        let said: Vec<&str> = settings.explicit_options().map(|(name, ..)| name).collect();
        assert_eq!(said, ["server", "proxy", "quorum"]);
    }
}
