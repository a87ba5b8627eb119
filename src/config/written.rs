//! `Config`: the file as it was written. Each key is asked for once, with the rule that its value must keep; what
//! does not fit is collected as an objection with its place, and reading goes on.
//!
//! The questions are the list of keys: a key in the file that nobody asked for is unknown, and the keys that were
//! asked for are what it is compared with. So there is no second list to keep in step.
//!
//! One mistake should give one message. A key that was refused, or that a mistyped key seems to stand for, is
//! *doubtful*, and objections that rest on a doubtful key (it is missing, it contradicts another) are dropped.

use std::borrow::Cow;
use std::collections::HashSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::rule::Rule;

/// One mistake in the file, and where it stands; lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// What was found, what was expected, and what to do, in one sentence.
    pub sentence: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.sentence)
    }
}

/// A key: its section, as in the header, and its name.
pub type Key = (&'static str, &'static str);

/// A key that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub key: Key,
    /// What the value must be, in words.
    pub expected: String,
    /// What an absent key means, as TOML or in words.
    pub default: String,
}

/// The file, and what was found and asked so far.
pub(super) struct Config<'t> {
    text: &'t str,
    root: DeTable<'t>,
    /// Broken lines were left out, so what looks missing may stand there.
    incomplete: bool,
    sections: Vec<&'static str>,
    /// Sections whose keys are the user's own.
    free: Vec<&'static str>,
    pub known: Vec<Known>,
    objections: Vec<Objection>,
    /// Required and not there.
    missing: HashSet<Key>,
    doubtful: HashSet<Key>,
    doubtful_sections: HashSet<&'static str>,
}

struct Objection {
    at: usize,
    sentence: String,
    /// The keys that it rests on; empty if it holds whatever they are.
    about: Vec<Key>,
}

impl<'t> Config<'t> {
    /// Takes text that [`Syntax::check`] left over.
    pub fn new(syntax: &'t Syntax) -> Config<'t> {
        let (root, _) = DeTable::parse_recoverable(&syntax.text);
        Config {
            text: &syntax.text,
            root: root.into_inner(),
            incomplete: !syntax.errors.is_empty(),
            sections: Vec::new(),
            free: Vec::new(),
            known: Vec::new(),
            objections: Vec::new(),
            missing: HashSet::new(),
            doubtful: HashSet::new(),
            doubtful_sections: HashSet::new(),
        }
    }

    /// The section under the header `[path]`; every key of it is to be asked for.
    pub fn section<'c>(&'c mut self, path: &'static str) -> Section<'c, 't> {
        self.sections.push(path);
        if let Some(found) = self.find(path).filter(|found| !found.get_ref().is_table()) {
            let (at, found) = (found.span().start, self.quote(found.span()));
            self.object(at, format!("{path} is {found}; expected a section with the header [{path}]"), &[]);
            self.doubtful_sections.insert(path);
        }
        Section { config: self, path }
    }

    /// Reports that the values of `about` do not go together, at the first of them that the file holds.
    pub fn contradiction(&mut self, about: &[Key], sentence: impl Into<String>) {
        if about.iter().any(|key| self.missing.contains(key)) {
            return;
        }
        let place = about.iter().find_map(|&(section, key)| self.find(&join(section, key)));
        let at = place.map_or_else(|| self.header(about[0].0), |value| value.span().start);
        self.object(at, sentence.into(), about);
    }

    /// The mistakes of the file, in its order, after all keys were asked for.
    pub fn finish(mut self, file: &str) -> Vec<Mistake> {
        self.object_to_unknown_keys();
        let mut mistakes: Vec<_> = self.objections.iter().filter(|objection| self.stands(objection)).collect();
        mistakes.sort_by_key(|objection| objection.at);
        mistakes.into_iter().map(|Objection { at, sentence, .. }| locate(file, self.text, *at, sentence)).collect()
    }

    fn stands(&self, objection: &Objection) -> bool {
        let doubtful = |key: &Key| {
            self.doubtful.contains(key) || self.doubtful_sections.iter().any(|section| is_within(key.0, section))
        };
        objection.about.is_empty() || !self.incomplete && !objection.about.iter().any(doubtful)
    }

    fn object(&mut self, at: usize, sentence: String, about: &[Key]) {
        self.objections.push(Objection { at, sentence, about: about.to_vec() });
    }

    fn find(&self, path: &str) -> Option<&Spanned<DeValue<'t>>> {
        let mut names = path.split('.');
        let first = self.root.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get_ref().as_table()?.get(name))
    }

    /// Where the section begins, or the innermost section around it that the file holds.
    fn header(&self, path: &str) -> usize {
        let around = std::iter::successors(Some(path), |path| path.rsplit_once('.').map(|(outer, _)| outer));
        around.filter_map(|path| self.find(path)).map(|section| section.span().start).next().unwrap_or(0)
    }

    /// A piece of the file for a message: one line, not too long.
    fn quote(&self, span: std::ops::Range<usize>) -> String {
        quote(self.text.get(span).unwrap_or_default())
    }

    fn object_to_unknown_keys(&mut self) {
        let mut unknown = Vec::new();
        collect_unknown(self, "", &self.root, &mut unknown);
        for Unknown { section, name, is_section, at } in unknown {
            let place = if section.is_empty() { "the file".to_owned() } else { format!("[{section}]") };
            let bare = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
            let typed = if bare { quote(&name) } else { quote(&format!("{name:?}")) };
            let sentence = if is_section {
                let guess = self.nearest_section(&section, &name);
                self.doubtful_sections.extend(guess);
                let guess = match guess {
                    Some(path) => format!("did you mean [{path}]?"),
                    None => format!("expected one of {}", self.list_sections()),
                };
                format!("there is no section [{}]; {guess}", join(&section, &typed))
            } else {
                let guess = self.nearest_key(&section, &name);
                self.doubtful.extend(guess);
                let guess = match guess {
                    Some((home, key)) if home == section => format!("did you mean {key}?"),
                    Some((home, key)) if key == plain(&name) => format!("{key} belongs to [{home}]"),
                    Some((home, key)) => format!("did you mean {key}, which belongs to [{home}]?"),
                    None if section.is_empty() => format!("expected a section, one of {}", self.list_sections()),
                    None => format!("expected one of {}", self.list_keys(&section)),
                };
                format!("{place} has no key {typed}; {guess}")
            };
            self.object(at, sentence, &[]);
        }
    }

    /// The known key that `typed`, found in `section`, most likely stands for.
    fn nearest_key(&self, section: &str, typed: &str) -> Option<Key> {
        let ranked = self.known.iter().filter_map(|known| {
            let (home, key) = known.key;
            let distance = distance(typed, key)?;
            Some((rank(home == section, distance), known.key))
        });
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, key)| key)
    }

    fn nearest_section(&self, parent: &str, typed: &str) -> Option<&'static str> {
        let ranked = self.sections.iter().filter_map(|&path| {
            let (home, name) = path.rsplit_once('.').unwrap_or(("", path));
            let distance = distance(typed, name).or_else(|| distance(&join(parent, typed), path))?;
            Some((rank(home == parent, distance), path))
        });
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, path)| path)
    }

    fn list_keys(&self, section: &str) -> String {
        let keys = self.known.iter().filter(|known| known.key.0 == section).map(|known| known.key.1);
        keys.collect::<Vec<_>>().join(", ")
    }

    fn list_sections(&self) -> String {
        self.sections.iter().map(|path| format!("[{path}]")).collect::<Vec<_>>().join(", ")
    }
}

/// How likely a guess is, the likeliest first: one slip of the finger in the right place before a right name in a wrong one.
fn rank(is_at_home: bool, distance: usize) -> (u8, usize) {
    let rank = match (is_at_home, distance) {
        (true, 0..=1) => 0,
        (false, 0) => 1,
        (true, _) => 2,
        (false, _) => 3,
    };
    (rank, distance)
}

/// One section of the file, to ask for its keys.
pub(super) struct Section<'c, 't> {
    config: &'c mut Config<'t>,
    path: &'static str,
}

impl Section<'_, '_> {
    /// The value of a key that the file must hold. After an objection, `None`.
    pub fn required<T>(&mut self, key: &'static str, rule: Rule<T>) -> Option<T> {
        let expected = rule.expected.clone();
        let value = self.ask(key, rule, "none, required".to_owned());
        if value.is_none() {
            let at = self.config.header(self.path);
            let sentence = format!("[{}] {key} is missing; expected {expected}; add a line {key} = …", self.path);
            self.config.object(at, sentence, &[(self.path, key)]);
            self.config.missing.insert((self.path, key));
        }
        value
    }

    /// The value of a key, or `None` if the file does not hold it; `absent` says in words what that means.
    pub fn optional<T>(&mut self, key: &'static str, rule: Rule<T>, absent: &str) -> Option<T> {
        self.ask(key, rule, absent.to_owned())
    }

    /// The value of a key, or its default, written as in the file. After an objection, the default too.
    pub fn with_default<T>(&mut self, key: &'static str, rule: Rule<T>, default: &str) -> T {
        let fallback = DeValue::parse(default).ok().and_then(|value| rule.read(value.get_ref()).ok());
        let fallback = fallback.expect("a default keeps the rule of its key");
        self.ask(key, rule, default.to_owned()).unwrap_or(fallback)
    }

    /// All keys of a section whose names are the user's own, in the order of the file.
    pub fn free<T>(&mut self, rule: Rule<T>) -> Vec<(String, T)> {
        self.config.free.push(self.path);
        let Some(DeValue::Table(table)) = self.config.find(self.path).map(|value| value.get_ref()) else {
            return Vec::new();
        };
        let mut entries: Vec<_> = table.iter().map(|(name, value)| (name.span().start, name, value)).collect();
        entries.sort_by_key(|(at, ..)| *at);
        let (mut kept, mut refused) = (Vec::new(), Vec::new());
        for (_, name, value) in entries {
            match rule.read(value.get_ref()) {
                Ok(value) => kept.push((name.get_ref().to_string(), value)),
                Err(hint) => refused.push((value.span(), quote(name.get_ref()), hint)),
            }
        }
        for (span, name, hint) in refused {
            self.refuse(span, &name, &rule.expected, &hint);
        }
        kept
    }

    fn ask<T>(&mut self, key: &'static str, rule: Rule<T>, default: String) -> Option<T> {
        let value = self.config.find(&join(self.path, key));
        let read = value.map(|value| (value.span(), rule.read(value.get_ref())));
        let value = match read {
            Some((_, Ok(value))) => Some(value),
            Some((span, Err(hint))) => {
                self.refuse(span, key, &rule.expected, &hint);
                self.config.doubtful.insert((self.path, key));
                None
            }
            None => None,
        };
        self.config.known.push(Known { key: (self.path, key), expected: rule.expected, default });
        value
    }

    fn refuse(&mut self, span: std::ops::Range<usize>, key: &str, expected: &str, hint: &str) {
        let found = self.config.quote(span.clone());
        let next = if hint.is_empty() { String::new() } else { format!("; {hint}") };
        let sentence = format!("[{}] {key} is {found}; expected {expected}{next}", self.path);
        self.config.object(span.start, sentence, &[]);
    }
}

/// What the TOML parser says of the text, and the text that can be read nevertheless.
pub(super) struct Syntax<'t> {
    /// The text; broken lines are replaced by spaces, so that every place stays where it was.
    text: Cow<'t, str>,
    errors: Vec<(usize, String)>,
    /// Whether the sections are as they were written, so that it makes sense to look at the keys.
    pub readable: bool,
}

impl<'t> Syntax<'t> {
    pub fn check(text: &'t str) -> Syntax<'t> {
        let (_, errors) = DeTable::parse_recoverable(text);
        let mut found: Vec<(usize, String)> = errors
            .iter()
            .map(|error| {
                let span = error.span().unwrap_or_default();
                let quoted = quote(text.get(span.clone()).unwrap_or_default());
                let subject = if quoted.is_empty() { String::new() } else { format!("{quoted}: ") };
                let comma = text.get(span.start..).is_some_and(|rest| rest.starts_with(','))
                    && text[..span.start].ends_with(|c: char| c.is_ascii_digit());
                let next = if comma { "; in a number write a decimal point" } else { "" };
                (span.start, format!("not valid TOML: {subject}{}{next}", error.message()))
            })
            .collect();
        if found.is_empty() {
            return Syntax { text: Cow::Borrowed(text), errors: found, readable: true };
        }
        found.sort_by_key(|(at, _)| *at);
        found.dedup_by_key(|(at, _)| line_of(text, *at));
        let broken: HashSet<usize> = found.iter().map(|(at, _)| line_of(text, *at)).collect();
        let mut header_broken = false;
        let blanked: String = text
            .split_inclusive('\n')
            .enumerate()
            .map(|(number, line)| {
                if !broken.contains(&number) {
                    return line.to_owned();
                }
                header_broken |= line.trim_start().starts_with('[');
                line.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
            })
            .collect();
        let (_, left) = DeTable::parse_recoverable(&blanked);
        if !left.is_empty() {
            // One mistake spoils several lines, for instance a bracket that is never closed.
            found.truncate(1);
        }
        Syntax { text: Cow::Owned(blanked), errors: found, readable: left.is_empty() && !header_broken }
    }

    pub fn mistakes(&self, file: &str, text: &str) -> Vec<Mistake> {
        self.errors.iter().map(|(at, sentence)| locate(file, text, *at, sentence)).collect()
    }
}

struct Unknown {
    section: String,
    name: String,
    is_section: bool,
    at: usize,
}

fn collect_unknown(config: &Config, path: &str, table: &DeTable, unknown: &mut Vec<Unknown>) {
    for (name, value) in table {
        let inner = join(path, name.get_ref());
        let known_section = config.sections.iter().any(|section| is_within(section, &inner));
        let known_key = config.known.iter().any(|known| known.key == (path, name.get_ref()));
        match value.get_ref().as_table() {
            Some(table) if known_section && !config.free.contains(&inner.as_str()) => {
                collect_unknown(config, &inner, table, unknown);
            }
            _ if known_section || known_key => {}
            table => unknown.push(Unknown {
                section: path.to_owned(),
                name: name.get_ref().to_string(),
                is_section: table.is_some(),
                at: name.span().start,
            }),
        }
    }
}

/// Whether the section `path` is `outer` or lies in it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

fn plain(typed: &str) -> String {
    typed.to_lowercase().replace([' ', '-'], "_")
}

/// How many slips lie between what was typed and a word, or `None` if they have nothing to do with one another.
///
/// The Damerau-Levenshtein distance, at most a third of the word but at least one slip; a word without its unit
/// (`pulse` for `pulse_ms`) counts as one.
pub(super) fn distance(typed: &str, word: &str) -> Option<usize> {
    let most = (word.chars().count() / 3).max(1);
    let typed = plain(typed);
    if word.strip_prefix(typed.as_str()).is_some_and(|rest| rest.starts_with('_')) {
        return Some(1);
    }
    if typed.chars().count() > word.chars().count() + most {
        return None;
    }
    let slips = strsim::damerau_levenshtein(&typed, word);
    (slips <= most).then_some(slips)
}

/// A piece of the file for a message: one line, at most 48 characters.
fn quote(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(48).collect();
    if text.chars().count() > 48 {
        line.push('…');
    }
    line
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

fn locate(file: &str, text: &str, at: usize, sentence: &str) -> Mistake {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    Mistake {
        file: file.to_owned(),
        line: line_of(text, at) + 1,
        column: line.chars().count() + 1,
        sentence: sentence.to_owned(),
    }
}
