//! A strict reader of the text format that Prometheus scrapes.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::http;

/// Values of one name, each with its labels.
type Samples = Vec<(BTreeMap<String, String>, f64)>;

/// What was scraped.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// By name.
    samples: BTreeMap<String, Samples>,
}

impl Scrape {
    /// Scrapes `/metrics`; `None` if nobody listens.
    pub fn of(address: &str) -> Option<Scrape> {
        let page = http::get(address, "/metrics")?;
        assert_eq!(page.status, 200, "{page:?}");
        let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert!(page.head.lines().any(|line| line.eq_ignore_ascii_case(kind)), "{}", page.head);
        Some(Scrape::parse(&page.body))
    }

    /// Reads the text; panics where it breaks a rule of the format.
    pub fn parse(text: &str) -> Scrape {
        let body = text.strip_suffix("# EOF\n").expect("the text ends with its mark");
        let mut scrape = Scrape::default();
        let (mut family, mut kind) = (String::new(), String::new());
        let mut families = BTreeSet::new();
        for line in body.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a help text");
                assert!(families.insert(name.to_owned()), "{name} comes twice");
                assert!(!help.is_empty());
                (family, kind) = (name.to_owned(), String::new());
            } else if let Some(of) = line.strip_prefix("# TYPE ") {
                let (name, of) = of.split_once(' ').expect("a type");
                assert!(name == family && ["counter", "gauge"].contains(&of), "{line}");
                kind = of.to_owned();
            } else {
                assert!(!line.starts_with('#'), "{line}");
                let (name, labels, value) = sample(line);
                let expected = if kind == "counter" { format!("{family}_total") } else { family.clone() };
                assert_eq!(name, expected, "a sample stands below its family");
                assert!(value.is_finite() && (kind != "counter" || value >= 0.0), "{line}");
                let samples = scrape.samples.entry(name).or_default();
                assert!(samples.iter().all(|(known, _)| *known != labels), "{line} comes twice");
                samples.push((labels, value));
            }
        }
        scrape
    }

    /// The only series of this name with these labels among its own.
    #[track_caller]
    pub fn one(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.all(name, labels);
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        found[0]
    }

    /// All series of this name with these labels among their own.
    pub fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let has = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(name, value)| of.get(*name).is_some_and(|found| found == value))
        };
        let samples = self.samples.get(name).into_iter().flatten();
        samples.filter(|(of, _)| has(of)).map(|(_, value)| *value).collect()
    }

    /// They added up.
    pub fn sum(&self, name: &str) -> f64 {
        self.all(name, &[]).iter().sum()
    }
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a series and a value");
    let value = value.parse().unwrap_or_else(|_| panic!("{value} is a number: {line}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("labels end: {line}"));
    // No value in here holds a quote or a comma.
    let pairs = labels.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("a label: {line}"));
        (name.to_owned(), value.strip_suffix('"').expect("a quoted value").to_owned())
    });
    (name.to_owned(), pairs.collect(), value)
}

#[test]
fn a_scrape_is_read_strictly() {
    let text = "# HELP a_b Help\n# TYPE a_b counter\na_b_total{x=\"1\",y=\"z\"} 2.5\na_b_total{x=\"2\"} 1\n# EOF\n";
    let scrape = Scrape::parse(text);
    assert_eq!(scrape.one("a_b_total", &[("x", "1")]), 2.5);
    assert_eq!((scrape.sum("a_b_total"), scrape.all("a_b", &[]).len()), (3.5, 0));
    for wrong in ["a_b 1\n# EOF\n", "# HELP a_b Help\n# TYPE a_b counter\na_b 1\n# EOF\n", "# HELP a Help\n"] {
        assert!(std::panic::catch_unwind(|| Scrape::parse(wrong)).is_err(), "{wrong}");
    }
}
