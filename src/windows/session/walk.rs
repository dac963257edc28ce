//! Walking along the pieces of each key in order of time, and cutting where a gap lies between.

use std::ops::Range;

use super::Session;

/// Some records of one key with less than a gap between each and the next. Of several pieces of a session, each may have the
/// records of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Number of its key.
    pub(super) key: usize,
    pub(super) first: i64,
    pub(super) last: i64,
    /// Where its state stands.
    pub(super) row: u32,
    /// The watermark at which it was given, if it was.
    pub(super) given: Option<i64>,
}

/// A session that some pieces make.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) key: usize,
    pub(super) first: i64,
    pub(super) last: i64,
    /// Its pieces, as places in the walk.
    places: Range<usize>,
    /// The latest watermark at which some of it was given.
    pub(super) given: Option<i64>,
    /// Whether some of it wasn't.
    pub(super) is_new: bool,
    /// Whether records that aren't in the pieces yet go on with it.
    pub(super) goes_on: bool,
}

/// Pieces in the order of keys and times, and the sessions that they make.
pub(super) struct Walk {
    pieces: Vec<Piece>,
    pub(super) found: Vec<Found>,
}

impl Walk {
    pub(super) fn along(mut pieces: Vec<Piece>, window: Session) -> Walk {
        pieces.sort_unstable_by_key(|piece| (piece.key, piece.first, piece.row));
        let mut found: Vec<Found> = Vec::new();
        for (place, piece) in pieces.iter().enumerate() {
            match found.last_mut() {
                Some(session) if session.key == piece.key && piece.first < window.end(session.last) => {
                    session.last = session.last.max(piece.last);
                    session.places.end = place + 1;
                    session.given = session.given.max(piece.given);
                    session.is_new |= piece.given.is_none();
                }
                _ => found.push(Found {
                    key: piece.key,
                    first: piece.first,
                    last: piece.last,
                    places: place..place + 1,
                    given: piece.given,
                    is_new: piece.given.is_none(),
                    goes_on: false,
                }),
            }
        }
        Walk { pieces, found }
    }

    fn pieces(&self, session: &Found) -> &[Piece] {
        &self.pieces[session.places.clone()]
    }

    /// The rows of a session's pieces.
    pub(super) fn rows(&self, session: &Found) -> impl Iterator<Item = u32> {
        self.pieces(session).iter().map(|piece| piece.row)
    }

    /// What was given of a session: the sessions that these pieces make by themselves.
    pub(super) fn given_of(&self, session: &Found, window: Session) -> Vec<Piece> {
        let mut shown: Vec<Piece> = Vec::new();
        for piece in self.pieces(session).iter().filter(|piece| piece.given.is_some()) {
            match shown.last_mut() {
                Some(last) if piece.first < window.end(last.last) => last.last = last.last.max(piece.last),
                _ => shown.push(*piece),
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Micros;

    const GAP: Session = Session { gap: Micros(10), partition_keys: 0 };

    /// First and last of what was given of the session that pieces (first, last, whether it was given) make.
    fn given_of(pieces: &[(i64, i64, bool)]) -> Vec<(i64, i64)> {
        let piece = |(&(first, last, given), row): (&(i64, i64, bool), u32)| Piece {
            key: 0,
            first,
            last,
            row,
            given: given.then_some(50),
        };
        let walk = Walk::along(pieces.iter().zip(0..).map(piece).collect(), GAP);
        assert_eq!(walk.found.len(), 1);
        walk.given_of(&walk.found[0], GAP).iter().map(|shown| (shown.first, shown.last)).collect()
    }

    #[test]
    fn what_was_given_of_a_session_is_what_the_given_pieces_make() {
        // 5 joins two that stood exactly a gap apart.
        assert_eq!(given_of(&[(0, 0, true), (5, 5, false), (10, 12, true)]), [(0, 0), (10, 12)]);
        // Pieces of one session, of groups that split it.
        assert_eq!(given_of(&[(0, 7, true), (3, 4, true), (9, 9, true), (12, 12, false)]), [(0, 9)]);
        assert!(given_of(&[(0, 7, false)]).is_empty());
    }
}
