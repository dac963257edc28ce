//! The names of runs and manifests. Invariant: they are ordered, and their padded text orders the same way.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A run's turn at its job or history, from 1. Each run takes the next one; a greater one fences all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Generation {
        Generation(self.0 + 1)
    }

    /// Ten digits, so that texts order as numbers do.
    pub fn padded(self) -> String {
        format!("{:010}", self.0)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One manifest: which run put it, and the how-manieth of that run it is. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestId {
    /// The run that put it.
    pub generation: Generation,
    /// From 1 in each generation, without gaps.
    pub number: u64,
}

impl ManifestId {
    /// The manifest with this number in this generation.
    pub fn new(generation: Generation, number: u64) -> ManifestId {
        ManifestId { generation, number }
    }

    /// As table properties and file names carry it, `0000000003/0000000012`: texts order as ids do.
    pub fn padded(self) -> String {
        format!("{}/{:010}", self.generation.padded(), self.number)
    }
}

impl fmt::Display for ManifestId {
    /// For people: `3/12`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.generation, self.number)
    }
}

impl FromStr for ManifestId {
    type Err = ();

    /// Reads either form; anything but two numbers with a slash between is an error.
    fn from_str(text: &str) -> Result<ManifestId, ()> {
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        match text.split_once('/') {
            Some((generation, number)) if digits(generation) && digits(number) => Ok(ManifestId {
                generation: Generation(generation.parse().map_err(|_| ())?),
                number: number.parse().map_err(|_| ())?,
            }),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_ids_order_as_numbers_and_read_back() {
        let small = ManifestId::new(Generation(9), 10);
        let great = ManifestId::new(Generation(10), 9);
        assert!(small < great && small.padded() < great.padded());
        assert_eq!(small.padded(), "0000000009/0000000010");
        assert_eq!(small.padded().parse(), Ok(small));
        assert_eq!(small.to_string().parse(), Ok(small));
        for bad in ["", "3", "3/", "/3", "a/1", "1/-2", "+1/2", "1/2/3"] {
            assert_eq!(bad.parse::<ManifestId>(), Err(()), "{bad}");
        }
    }
}
