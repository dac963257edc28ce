//! Did you mean: the known name that is nearest to an unknown one.

/// Similarity (Jaro-Winkler, 0 to 1) from which a name is worth a guess; below it guesses confuse more than they help.
const SIMILARITY_MIN: f64 = 0.8;

/// The name of `known` that `unknown` was probably meant to be.
pub(super) fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let unknown = unknown.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for name in known {
        let similarity = strsim::jaro_winkler(&unknown, &name.to_lowercase());
        // Strictly greater, so that the first of equals wins, whatever the caller's order is.
        if similarity >= SIMILARITY_MIN && best.is_none_or(|(greatest, _)| similarity > greatest) {
            best = Some((similarity, name));
        }
    }
    best.map(|(_, name)| name)
}

/// `did you mean …?`, or the list of all known names, or `otherwise` if there are none.
pub(super) fn did_you_mean<'a>(
    unknown: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    otherwise: &str,
) -> String {
    if let Some(name) = nearest(unknown, known.clone()) {
        return format!("did you mean `{name}`?");
    }
    let names: Vec<String> = known.into_iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { otherwise.to_owned() } else { format!("known here: {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_a_stranger_finds_none() {
        let known = ["event_time", "host", "ip"];
        assert_eq!(nearest("evnt_time", known), Some("event_time"));
        assert_eq!(nearest("Host", known), Some("host"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(did_you_mean("colour", known, ""), "known here: `event_time`, `host`, `ip`");
    }
}
