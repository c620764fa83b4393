//! A strict reader of Prometheus' text format 0.0.4: what it does not know it refuses.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by name, then by labels in the order of their names.
#[derive(Debug, Default)]
pub struct Exposition {
    samples: BTreeMap<String, BTreeMap<Vec<(String, String)>, f64>>,
    kinds: BTreeMap<String, String>,
}

impl Exposition {
    /// Panics unless every line is a HELP, a TYPE or a sample of the family announced last, and no series comes twice.
    pub fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line is complete");
        let mut all = Self::default();
        let mut helped = BTreeSet::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').expect("a help has a text");
                assert!(helped.insert(name.to_owned()), "a family comes once: {line}");
                assert!(!text.is_empty(), "{line}");
                family = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type has a name");
                assert_eq!(name, family, "the type follows the help");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                all.kinds.insert(name.to_owned(), kind.to_owned());
            } else {
                all.sample(line, &family);
            }
        }
        all
    }

    fn sample(&mut self, line: &str, family: &str) {
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
        let (name, labels) = match series.split_once('{') {
            None => (series, Vec::new()),
            Some((name, labels)) => (name, read_labels(labels, line)),
        };
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        assert!(
            name.chars().all(valid) && !name.starts_with(|c: char| c.is_ascii_digit()),
            "{line}"
        );
        let suffix = name
            .strip_prefix(family)
            .unwrap_or_else(|| panic!("{line} is not of {family}"));
        let histogram = self.kinds[family] == "histogram";
        assert!(
            suffix.is_empty() && !histogram || histogram && ["_bucket", "_sum", "_count"].contains(&suffix),
            "{line}"
        );
        let before = self.samples.entry(name.to_owned()).or_default().insert(labels, value);
        assert!(before.is_none(), "a series comes once: {line}");
    }

    /// The kind of a family: `counter`, `gauge` or `histogram`.
    #[track_caller]
    pub fn kind(&self, name: &str) -> &str {
        self.kinds.get(name).unwrap_or_else(|| panic!("no family {name}"))
    }

    /// Whether there is such a family.
    pub fn has(&self, name: &str) -> bool {
        self.kinds.contains_key(name)
    }

    /// The value of the series with exactly these labels.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut labels: Vec<(String, String)> = labels.iter().map(|&(k, v)| (k.into(), v.into())).collect();
        labels.sort();
        let family = self.samples.get(name).unwrap_or_else(|| panic!("no sample {name}"));
        *family
            .get(&labels)
            .unwrap_or_else(|| panic!("no {labels:?} in {name}: {family:?}"))
    }
}

fn read_labels(text: &str, line: &str) -> Vec<(String, String)> {
    let mut rest = text.strip_suffix('}').unwrap_or_else(|| panic!("no brace: {line}"));
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("no value: {line}"));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
        let mut unescaped = String::new();
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().unwrap_or_else(|| panic!("no end of a label: {line}")) {
                (at, '"') => break at,
                (_, '\\') => unescaped.push(match chars.next() {
                    Some((_, '\\')) => '\\',
                    Some((_, '"')) => '"',
                    Some((_, 'n')) => '\n',
                    other => panic!("escape {other:?} in {line}"),
                }),
                (_, c) => unescaped.push(c),
            }
        };
        labels.push((name.to_owned(), unescaped));
        let after = &value[end + 1..];
        rest = after.strip_prefix(',').unwrap_or(after);
        assert!(after.is_empty() || after.starts_with(','), "{line}");
    }
    labels.sort();
    labels
}
