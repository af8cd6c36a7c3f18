//! Markup that no text can get out of: text gets in escaped, and there is no other way in.
//!
//! What is not to be trusted is shown character for character: what would not be seen, or would move what stands beside
//! it, is shown as its number, as `U+202E`.

use std::fmt::{self, Write as _};

/// A piece of a page.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// Takes markup of our own: what is written in the source, and nothing that is put together.
    pub fn fixed(markup: &'static str) -> Self {
        Self(markup.to_owned())
    }

    /// Takes a text, whoever wrote it.
    pub fn text(text: &str) -> Self {
        let mut html = String::with_capacity(text.len());
        for character in text.chars() {
            if is_plain(character) {
                escape(character, &mut html);
            } else {
                // Writing to a string can't fail.
                let _ = write!(html, "<i class=\"odd\">U+{:04X}</i>", u32::from(character));
            }
        }
        Self(html)
    }

    /// Takes what is shown in words of ours, such as numbers and times.
    pub fn of(shown: impl fmt::Display) -> Self {
        Self::text(&shown.to_string())
    }

    /// Makes an element.
    pub fn element(tag: &'static str, content: impl Into<Self>) -> Self {
        Self::with(tag, &[], content)
    }

    /// Makes an element with attributes.
    pub fn with(tag: &'static str, attributes: &[(&'static str, &str)], content: impl Into<Self>) -> Self {
        let mut html = Self::open(tag, attributes);
        html.0.push_str(&content.into().0);
        let _ = write!(html.0, "</{tag}>");
        html
    }

    /// Makes an element that has nothing in it and no end.
    pub fn open(tag: &'static str, attributes: &[(&'static str, &str)]) -> Self {
        let mut html = format!("<{tag}");
        for (name, value) in attributes {
            let _ = write!(html, " {name}=\"");
            for character in value.chars() {
                if is_plain(character) {
                    escape(character, &mut html);
                } else {
                    let _ = write!(html, "U+{:04X}", u32::from(character));
                }
            }
            html.push('"');
        }
        html.push('>');
        Self(html)
    }

    /// Appends another piece.
    pub fn push(&mut self, other: impl Into<Self>) {
        self.0.push_str(&other.into().0);
    }

    /// Returns the markup.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Debug for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Html(..)")
    }
}

impl From<&str> for Html {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Html {
    fn from(text: String) -> Self {
        Self::text(&text)
    }
}

impl<const N: usize> From<[Html; N]> for Html {
    fn from(pieces: [Html; N]) -> Self {
        pieces.into_iter().collect()
    }
}

impl FromIterator<Html> for Html {
    fn from_iter<I: IntoIterator<Item = Html>>(pieces: I) -> Self {
        let mut all = Self::default();
        for piece in pieces {
            all.push(piece);
        }
        all
    }
}

/// Says whether a character shows as what it is, and moves nothing: letters and digits of all scripts, and what is on a
/// keyboard. Marks that combine with others, and whatever is invisible, formats or has a direction alone, are not among them.
pub fn is_plain(character: char) -> bool {
    matches!(character, ' '..='~') || (!character.is_ascii() && character.is_alphanumeric() && !is_filler(character))
}

/// Letters that are drawn as nothing: the fillers of Hangul.
fn is_filler(character: char) -> bool {
    matches!(character, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}')
}

fn escape(character: char, html: &mut String) {
    match character {
        '&' => html.push_str("&amp;"),
        '<' => html.push_str("&lt;"),
        '>' => html.push_str("&gt;"),
        '"' => html.push_str("&quot;"),
        '\'' => html.push_str("&#39;"),
        character => html.push(character),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a browser reads back of text: markup of ours taken away, and references resolved.
    fn read_back(html: &str) -> String {
        html.replace("<i class=\"odd\">", "[")
            .replace("</i>", "]")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&")
    }

    #[test]
    fn hostile_texts_are_texts() {
        for (text, markup) in [
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            (
                "\"><img src=x onerror='a'>",
                "&quot;&gt;&lt;img src=x onerror=&#39;a&#39;&gt;",
            ),
            ("&lt;", "&amp;lt;"),
            ("a\u{202e}b", "a<i class=\"odd\">U+202E</i>b"),
            ("a\nb\0", "a<i class=\"odd\">U+000A</i>b<i class=\"odd\">U+0000</i>"),
            (
                "\u{200b}\u{feff}\u{e0041}",
                "<i class=\"odd\">U+200B</i><i class=\"odd\">U+FEFF</i><i class=\"odd\">U+E0041</i>",
            ),
            ("b\u{fc}cher \u{540d}", "b\u{fc}cher \u{540d}"),
        ] {
            assert_eq!(Html::text(text).into_string(), markup);
        }
        let attribute = Html::open("input", &[("value", "\"><script>\u{202e}'")]);
        assert_eq!(
            attribute.into_string(),
            "<input value=\"&quot;&gt;&lt;script&gt;U+202E&#39;\">"
        );
    }

    #[test]
    fn what_is_not_seen_is_no_plain_character() {
        let unseen = [
            '\u{0}'..='\u{1f}',
            '\u{7f}'..='\u{a0}',
            '\u{200b}'..='\u{200f}',
            '\u{2028}'..='\u{202f}',
        ];
        let unseen = unseen.into_iter().flatten();
        let others = "\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{17b4}\u{180e}\u{2060}\u{2066}\u{2069}\u{2800}\u{3164}\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{e0001}\u{e000}";
        for character in unseen.chain(others.chars()) {
            assert!(!is_plain(character), "{character:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_markup(text in "\\PC*|[<>&\"'=/ a-z\u{202a}-\u{202e}\u{0}-\u{1f}]*") {
            let html = Html::text(&text).into_string();
            let ours = html.replace("<i class=\"odd\">U+", "").replace("</i>", "");
            prop_assert!(!ours.contains(['<', '>', '"', '\'']), "{html}");
            prop_assert!(html.chars().all(is_plain), "{html:?}");
            // Nothing is lost either.
            let plain: String = text.chars().filter(|it| is_plain(*it)).collect();
            if plain == text {
                prop_assert_eq!(read_back(&html), text);
            }
        }

        #[test]
        fn no_attribute_ends_early(value in any::<String>()) {
            let html = Html::open("a", &[("title", &value)]).into_string();
            let inside = html.strip_prefix("<a title=\"").and_then(|it| it.strip_suffix("\">")).unwrap();
            prop_assert!(!inside.contains(['<', '>', '"', '\'']), "{html}");
            prop_assert!(inside.chars().all(is_plain));
        }
    }
}
