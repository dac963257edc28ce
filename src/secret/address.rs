//! Passwords inside addresses: where they stand, and the text without them.

use std::ops::Range;

use super::{HIDDEN, is_secret};

/// A text as it may be shown: in each address in it, what stands between `user:` and `@` is hidden, and so are
/// `password=…` and its like in a query. Any other text is left as it is.
pub fn without_password(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut shown_to = 0;
    for range in passwords(text) {
        shown.push_str(&text[shown_to..range.start]);
        shown.push_str(HIDDEN);
        shown_to = range.end;
    }
    shown.push_str(&text[shown_to..]);
    shown
}

/// Where passwords stand in the addresses of a text, in order.
pub fn passwords(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut searched_to = 0;
    while let Some(at) = text[searched_to..].find("://") {
        let begin = searched_to + at + "://".len();
        let behind = &text[begin..];
        let end = behind.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>'));
        let address = &behind[..end.unwrap_or(behind.len())];
        // An unencoded `/` or `@` in a password ends it for a parser, but must not end the hiding.
        let before_query = address.split(['?', '#']).next().unwrap_or_default();
        if let (Some(colon), Some(first), Some(last)) =
            (before_query.find(':'), before_query.find('@'), before_query.rfind('@'))
            && colon < first
        {
            ranges.push(begin + colon + 1..begin + last);
        }
        if let Some(query) = address.find('?') {
            ranges.extend(secret_parameters(address, query + 1).into_iter().map(|r| begin + r.start..begin + r.end));
        }
        searched_to = begin + address.len();
    }
    ranges
}

/// Values of the query parameters of an address that are secret by name.
fn secret_parameters(address: &str, query: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut at = query;
    for parameter in address[query..].split(['&', '#']) {
        if let Some((name, value)) = parameter.split_once('=')
            && is_secret(name)
            && !value.is_empty()
        {
            ranges.push(at + name.len() + 1..at + parameter.len());
        }
        at += parameter.len() + 1;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_are_hidden_and_the_rest_is_kept() {
        for (text, shown) in [
            (
                "postgres://kappa:p@ss@db:5432/catalog?sslmode=require",
                "postgres://kappa:***@db:5432/catalog?sslmode=require",
            ),
            ("postgres://kappa:p/ss@db/catalog", "postgres://kappa:***@db/catalog"),
            ("postgres://kappa:p@w:1/2@db:5432/x", "postgres://kappa:***@db:5432/x"),
            (
                "postgres://kappa@db/catalog?password=x&sslmode=require",
                "postgres://kappa@db/catalog?password=***&sslmode=require",
            ),
            ("at `http://u:a@h/` and http://u:b@h2", "at `http://u:***@h/` and http://u:***@h2"),
            ("http://localhost:8181/", "http://localhost:8181/"),
            ("http://host:80/a:b", "http://host:80/a:b"),
            ("postgres://kappa@db:5432/a@b", "postgres://kappa@db:5432/a@b"),
            ("sqlite:.kappa/catalog.db", "sqlite:.kappa/catalog.db"),
            ("s3://bucket/a@b", "s3://bucket/a@b"),
            ("no address", "no address"),
        ] {
            assert_eq!(without_password(text), shown);
        }
    }
}
