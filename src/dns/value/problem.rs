//! Where a value is wrong, for its owner to read.

use std::fmt;

use super::Reason;

/// Most problems that are kept of one domain.
const MAX_PROBLEMS: usize = 64;

/// Longest shown key of a map, in characters.
const MAX_SHOWN: usize = 80;

/// A part of a value that gives no records.
///
/// `Debug` hides the path: it may tell the name that was looked up.
#[derive(Clone, PartialEq, Eq)]
pub struct Problem {
    path: String,
    reason: Reason,
}

impl Problem {
    /// Returns where it is, such as `map.www.ip[1]`, or `import(dd/x).ip` in an imported value. What would disturb a
    /// terminal is escaped.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns what is wrong there.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return write!(f, "{}", self.reason);
        }
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Problem(..)")
    }
}

/// The first [`MAX_PROBLEMS`] problems of a domain.
#[derive(Default)]
pub(in crate::dns) struct Problems(Vec<Problem>);

impl Problems {
    /// Notes a problem, if there is room.
    pub(in crate::dns) fn add(&mut self, path: impl Into<String>, reason: Reason) {
        if self.0.len() < MAX_PROBLEMS {
            self.0.push(Problem {
                path: path.into(),
                reason,
            });
        }
    }

    /// Returns a report on the item at a path.
    pub(in crate::dns) fn at<'a>(&'a mut self, path: &'a str) -> Report<'a> {
        Report { problems: self, path }
    }

    pub(in crate::dns) fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

/// Notes the problems of one item.
pub(in crate::dns) struct Report<'a> {
    problems: &'a mut Problems,
    path: &'a str,
}

impl Report<'_> {
    /// Notes a problem of the item as a whole.
    pub(in crate::dns) fn item(&mut self, reason: Reason) {
        self.problems.add(self.path, reason);
    }

    /// Notes a problem of one member of the item's list.
    pub(in crate::dns) fn member(&mut self, index: usize, reason: Reason) {
        self.problems.add(format!("{}[{index}]", self.path), reason);
    }
}

/// Returns a path one step longer.
pub(in crate::dns) fn below(path: &str, key: &str) -> String {
    let shown: String = key.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect();
    match (path.is_empty(), key.is_empty()) {
        (true, _) => shown,
        (false, true) => format!("{path}.\"\""),
        (false, false) => format!("{path}.{shown}"),
    }
}
