//! What BIND's clients see.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// What `dig` got.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub status: String,
    pub flags: Vec<String>,
    /// Records of the answer and the other sections as `OWNER TYPE DATA`, without signatures.
    pub records: Vec<String>,
    /// The types that have signatures, one for each.
    pub signed: Vec<String>,
    /// All that it printed.
    pub text: String,
}

impl Seen {
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|one| one == flag)
    }
}

/// Runs a program to its end and returns what it said.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; tests/install installs it"));
    let (out, err) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    format!("{}{}", out.unwrap(), err.unwrap())
}

/// Asks with `dig`: `question` is a name and a type, and options in front. Of a negative answer no records are seen.
pub fn dig(server: SocketAddr, question: &str) -> Seen {
    dig_sections(server, question, &["+noauthority", "+noadditional"])
}

/// Asks with `dig` and looks at all sections.
pub fn dig_all(server: SocketAddr, question: &str) -> Seen {
    dig_sections(server, question, &[])
}

fn dig_sections(server: SocketAddr, question: &str, sections: &[&str]) -> Seen {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    // Nothing of the user's own settings counts. Waits outlast any load of the machine.
    let mut arguments = vec!["-r", &at, "-p", &port, "+nosplit", "+timeout=30", "+tries=2"];
    arguments.extend(sections);
    arguments.extend(question.split(' '));
    let text = run("dig", &arguments);
    let between = |start: &str, end| {
        let rest = text.split_once(start).unwrap_or_else(|| panic!("{question}: {text}")).1;
        rest.split(end).next().unwrap_or_default().to_owned()
    };
    let lines = text
        .lines()
        .filter(|line| !line.starts_with(';') && !line.trim().is_empty());
    let (mut records, mut signed) = (Vec::new(), Vec::new());
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields[3] == "RRSIG" {
            signed.push(fields[4].to_owned());
        } else {
            records.push(format!("{} {} {}", fields[0], fields[3], fields[4..].join(" ")));
        }
    }
    Seen {
        status: between("status: ", ','),
        flags: between(";; flags: ", ';').split(' ').map(str::to_owned).collect(),
        records,
        signed,
        text,
    }
}

/// Asks with `delv`, which validates by itself.
pub fn delv(server: SocketAddr, anchor: &Path, question: &str) -> String {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let mut arguments = vec!["-a", anchor.to_str().unwrap(), "+root=bit.", "-p", &port, &at];
    arguments.extend(question.split(' '));
    run("delv", &arguments)
}
