//! Sizes of memory as text with units: `4GB`, `512MiB`, or a share of what there is: `80%`.

use std::str::FromStr;

use thiserror::Error;

/// Units, longest names first so that none is taken for the end of another. Powers of 1024 in either spelling, as every
/// limit that this is held against (cgroup, Kubernetes, systemd) counts in them; a decimal unit would be the lesser one.
const UNITS: [(&str, u64); 14] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1 << 10),
    ("mb", 1 << 20),
    ("gb", 1 << 30),
    ("tb", 1 << 40),
    ("ki", 1 << 10),
    ("mi", 1 << 20),
    ("gi", 1 << 30),
    ("ti", 1 << 40),
    ("g", 1 << 30),
    ("m", 1 << 20),
];

/// An amount of memory as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeText {
    /// So many bytes, at least one.
    Bytes(u64),
    /// So many per cent of what the machine or its cgroup allows, 1 to 100.
    Percent(u8),
}

/// Why a text isn't an amount of memory.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SizeTextError {
    /// Not number and unit at all.
    #[error(
        "`{text}` isn't an amount of memory; write a whole number with a unit, such as 4GB or 512MB, or a share, such as 80%"
    )]
    Form {
        /// The text as written.
        text: String,
    },
    /// A number without a unit behind it.
    #[error("`{number}` has no unit; write {number}GB, {number}MB, or {number}% of what the machine has")]
    NoUnit {
        /// The number as written.
        number: String,
    },
    /// Nothing, or more than there can be.
    #[error("`{text}` is out of range; write at least 1MB, or 1% to 100%")]
    Range {
        /// The text as written.
        text: String,
    },
}

impl SizeText {
    /// In bytes, of `whole` bytes that there are.
    pub fn of(self, whole: u64) -> u64 {
        match self {
            SizeText::Bytes(bytes) => bytes,
            SizeText::Percent(percent) => whole / 100 * u64::from(percent),
        }
    }
}

impl FromStr for SizeText {
    type Err = SizeTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let unit = unit.trim().to_ascii_lowercase();
        let range = || SizeTextError::Range { text: text.to_owned() };
        if number.is_empty() {
            return Err(SizeTextError::Form { text: text.to_owned() });
        }
        if unit.is_empty() {
            return Err(SizeTextError::NoUnit { number: number.to_owned() });
        }
        let number: u64 = number.parse().map_err(|_| range())?;
        if unit == "%" {
            let percent = u8::try_from(number).ok().filter(|percent| (1..=100).contains(percent));
            return percent.map(SizeText::Percent).ok_or_else(range);
        }
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(SizeTextError::Form { text: text.to_owned() });
        };
        let bytes = number.checked_mul(*factor).filter(|bytes| *bytes >= 1 << 20).ok_or_else(range)?;
        Ok(SizeText::Bytes(bytes))
    }
}

impl std::fmt::Display for SizeText {
    /// As short as it can be read back: `4GB`, `80%`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            SizeText::Percent(percent) => write!(f, "{percent}%"),
            SizeText::Bytes(bytes) => {
                let units = [("TB", 1_u64 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];
                let (unit, factor) =
                    units.into_iter().find(|(_, factor)| bytes.is_multiple_of(*factor)).unwrap_or(("KB", 1 << 10));
                write!(f, "{}{unit}", bytes / factor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SizeText {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn units_count_in_powers_of_1024_however_they_are_spelt() {
        for text in ["4GB", "4 GiB", "4gi", "4g", "4096MB", " 4194304 KB "] {
            assert_eq!(parse(text), SizeText::Bytes(4 << 30), "{text}");
        }
        assert_eq!(parse("80%").of(1_000), 800);
        assert_eq!(parse("2MB").of(1_000), 2 << 20, "an amount is what it is, whatever there is");
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        for text in ["4GB", "1536MB", "80%", "1TB", "1025KB"] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_amount_is_refused_with_the_way_out() {
        let error = |text: &str| text.parse::<SizeText>().expect_err("no amount").to_string();
        assert!(error("4").contains("write 4GB"));
        assert!(error("a lot").contains("isn't an amount of memory"));
        assert!(error("1.5GB").contains("isn't an amount of memory"));
        assert!(error("-1GB").contains("isn't an amount of memory"));
        assert!(error("101%").contains("out of range"));
        assert!(error("0%").contains("out of range"));
        assert!(error("10KB").contains("out of range"));
        assert!(error("99999999999999999999GB").contains("out of range"));
    }
}
