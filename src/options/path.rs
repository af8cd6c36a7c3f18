//! Paths as users write them.
//!
//! A shell expands `~` in an argument, but not behind `=`, nor in a file. Without help such a path would name a folder
//! called `~` in the current one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// How the home folder can be written.
const HOME: [&str; 3] = ["~", "$HOME", "${HOME}"];

/// Returns the path that a text stands for: `~` and `$HOME` in front are the home folder.
///
/// # Errors
///
/// Words for what would have to be guessed: other people's homes, other variables, a home that isn't known.
pub(super) fn expand(text: &OsStr, home: Option<&Path>) -> Result<PathBuf, String> {
    for home_word in HOME {
        if let Ok(rest) = Path::new(text).strip_prefix(home_word) {
            let home = home.ok_or("no home folder is known; write the path in full")?;
            return Ok(home.join(rest));
        }
    }
    // What is no UTF-8 is no longer itself here, but all that is looked for is ASCII.
    let ascii = text.to_string_lossy();
    let refusal = if ascii.contains('\0') {
        "a path holds no NUL"
    } else if ascii.starts_with('~') {
        "~NAME is not expanded; write the path in full, or ./~NAME if it is called so"
    } else if ascii.starts_with('$') || ascii.contains("$HOME") || ascii.contains("${HOME}") {
        "of variables only $HOME is expanded, and only in front; write the path in full, or ./$NAME if it is called so"
    } else {
        return Ok(PathBuf::from(text));
    };
    Err(refusal.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<PathBuf, String> {
        expand(OsStr::new(text), Some(Path::new("/home/me")))
    }

    #[test]
    fn home_is_expanded() {
        for text in ["~/x/y", "$HOME/x/y", "${HOME}/x/y", "~//x/y"] {
            assert_eq!(expanded(text).unwrap(), Path::new("/home/me/x/y"), "{text}");
        }
        for text in ["~", "$HOME", "${HOME}", "~/"] {
            assert_eq!(expanded(text).unwrap(), Path::new("/home/me"), "{text}");
        }
    }

    #[test]
    fn what_is_no_home_stays() {
        for text in ["/x/~", "x~", "./~", "./$X", "/x/$y", "x"] {
            assert_eq!(expanded(text).unwrap(), Path::new(text), "{text}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        for text in ["~me/x", "~~", "$OTHER/x", "$HOMES", "/mnt/$HOME/x", "$", "a\0b"] {
            assert!(expanded(text).is_err(), "{text:?}");
        }
        assert!(expand(OsStr::new("~/x"), None).is_err());
    }
}
