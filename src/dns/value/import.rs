//! The forms of `import` and `delegate`.

use super::form::{each, text};
use super::{Json, Reason, Report};
use crate::name::NameId;

/// One object to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dns) struct Import {
    /// The name whose value it is in.
    pub(in crate::dns) name: NameId,
    /// Where it is there: labels with dots between, none for the whole.
    pub(in crate::dns) selector: String,
}

impl Import {
    /// Returns the labels of the selector in the order in which maps are gone through.
    pub(in crate::dns) fn labels(&self) -> impl Iterator<Item = &str> {
        self.selector.rsplit('.').filter(|_| !self.selector.is_empty())
    }
}

const EXPECTED: &str = "a name, a list of names, a name and a selector, or a list of such lists";

/// Reads the imports of an object in the order they are written.
///
/// The two readings of a flat list are told apart by the slash that every name has and no selector: `["d/a", "d/b"]`
/// are two names (IFA-0001), `["d/a", "www"]` is a name and a selector (ncdns).
pub(in crate::dns) fn imports(json: &Json, report: &mut Report<'_>) -> Vec<Import> {
    match json {
        Json::Null => Vec::new(),
        Json::Text(name) => import(name, "")
            .map_err(|reason| report.item(reason))
            .into_iter()
            .collect(),
        Json::List(members) => {
            let nested = members.iter().any(|member| matches!(member, Json::List(_)));
            let flat = members.iter().any(|member| matches!(member, Json::Text(_)));
            match (nested, flat) {
                (true, true) => refuse(report),
                (true, false) => each(members, report, pair),
                (false, _) => names(members, report),
            }
        }
        _ => refuse(report),
    }
}

fn refuse(report: &mut Report<'_>) -> Vec<Import> {
    report.item(Reason::Form { expected: EXPECTED });
    Vec::new()
}

fn names(members: &[Json], report: &mut Report<'_>) -> Vec<Import> {
    let texts: Vec<&str> = members.iter().filter_map(|member| text(member).ok()).collect();
    if let [name, selector] = texts.as_slice()
        && !selector.contains('/')
    {
        return import(name, selector)
            .map_err(|reason| report.item(reason))
            .into_iter()
            .collect();
    }
    if texts.len() > 1 && !texts.iter().all(|text| text.contains('/')) {
        return refuse(report);
    }
    each(members, report, |member| import(text(member)?, ""))
}

/// Reads a name with its selector, if any; what follows in the list is ignored (IFA-0001).
fn pair(json: &Json) -> Result<Import, Reason> {
    let Json::List(members) = json else {
        let expected = "a list of a name and a selector";
        return Err(Reason::Form { expected });
    };
    match members.as_slice() {
        [name] => import(text(name)?, ""),
        [name, selector, ..] => import(text(name)?, text(selector)?),
        [] => Err(Reason::Form { expected: "a name" }),
    }
}

fn import(name: &str, selector: &str) -> Result<Import, Reason> {
    let id = NameId::new(name.as_bytes()).filter(|id| !id.as_bytes().is_empty());
    Ok(Import {
        name: id.ok_or(Reason::Form { expected: "a name" })?,
        selector: selector.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::value::Problems;

    fn read(json: &str) -> (Vec<String>, usize) {
        let mut problems = Problems::default();
        let found = imports(&Json::read(json.as_bytes()).unwrap(), &mut problems.at("import"));
        let shown = found
            .into_iter()
            .map(|import| {
                format!(
                    "{}:{}",
                    String::from_utf8_lossy(import.name.as_bytes()),
                    import.selector
                )
            })
            .collect();
        (shown, problems.into_vec().len())
    }

    #[test]
    fn each_form_is_read() {
        for (json, expected) in [
            (r#""dd/x""#, &["dd/x:"][..]),
            (r#"["dd/x"]"#, &["dd/x:"]),
            (r#"["dd/x",""]"#, &["dd/x:"]),
            (r#"["dd/x","a.b"]"#, &["dd/x:a.b"]),
            (r#"["dd/x","dd/y"]"#, &["dd/x:", "dd/y:"]),
            (r#"["dd/x","dd/y","d/z"]"#, &["dd/x:", "dd/y:", "d/z:"]),
            (
                r#"[["dd/x"],["dd/y",""],["dd/z","a.b"]]"#,
                &["dd/x:", "dd/y:", "dd/z:a.b"],
            ),
            (r#"[["dd/x","a","b"]]"#, &["dd/x:a"]),
            ("[]", &[]),
            ("null", &[]),
            (r#""x""#, &["x:"]),
        ] {
            assert_eq!(
                read(json),
                (expected.iter().map(ToString::to_string).collect(), 0),
                "{json}"
            );
        }
    }

    #[test]
    fn malformed_imports_are_left_out() {
        for (json, expected, problems) in [
            (r#"["a","b","c"]"#, &[][..], 1),
            (r#"["dd/x","a","b"]"#, &[], 1),
            (r#"["a","dd/x"]"#, &[], 1),
            (r#"["dd/x",["dd/y"]]"#, &[], 1),
            (r#""""#, &[], 1),
            ("5", &[], 1),
            ("{}", &[], 1),
            (r#"[["dd/x"],5,["dd/y"]]"#, &["dd/x:", "dd/y:"], 1),
            (r#"[["dd/x"],[],[5],["dd/y",5]]"#, &["dd/x:"], 3),
            (r#"[null,"dd/x"]"#, &["dd/x:"], 1),
        ] {
            let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
            assert_eq!(read(json), (expected, problems), "{json}");
        }
        let long = format!("\"{}\"", "a".repeat(256));
        assert_eq!(read(&long), (vec![], 1));
    }
}
