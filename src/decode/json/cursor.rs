//! The lexical half: white space, literals, digits, strings, and values that are only checked.

/// Objects and arrays inside each other at most; deeper ones are undecodable, so that no message exhausts the stack.
pub(in crate::decode) const DEPTH_MAX: usize = 128;

/// Why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) enum Fault {
    /// The bytes aren't JSON.
    Syntax(&'static str),
    /// They are, but the value isn't one that the column takes.
    Value(&'static str),
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// A place in a record. The bytes around the record may be read ahead, never taken.
#[derive(Clone, Debug)]
pub(in crate::decode) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    end: usize,
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy, Debug)]
pub(in crate::decode) struct RawString<'a> {
    pub(in crate::decode) bytes: &'a [u8],
    /// Whether there are backslashes in it.
    pub(in crate::decode) escaped: bool,
}

impl<'a> Cursor<'a> {
    /// At `start` of `bytes`, with the record ending before `end`.
    pub(in crate::decode) fn new(bytes: &'a [u8], start: usize, end: usize) -> Cursor<'a> {
        debug_assert!(start <= end && end <= bytes.len());
        Cursor { bytes, position: start, end }
    }

    /// Index of the next byte.
    #[inline]
    pub(in crate::decode) fn position(&self) -> usize {
        self.position
    }

    /// Goes back (or on) to `position`, which this cursor has given before.
    #[inline]
    pub(in crate::decode) fn go_to(&mut self, position: usize) {
        self.position = position;
    }

    /// The bytes from `start` to here.
    pub(in crate::decode) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.position]
    }

    /// Whether the record is used up.
    #[inline]
    pub(in crate::decode) fn at_end(&self) -> bool {
        self.position >= self.end
    }

    /// The next byte.
    #[inline]
    pub(in crate::decode) fn peek(&self) -> Option<u8> {
        if self.position < self.end { Some(self.bytes[self.position]) } else { None }
    }

    /// Takes `byte` if it is next.
    #[inline]
    pub(in crate::decode) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    /// Takes `byte`, which must be next.
    #[inline]
    pub(in crate::decode) fn expect(&mut self, byte: u8, fault: &'static str) -> Result<(), Fault> {
        if self.take(byte) { Ok(()) } else { Err(Fault::Syntax(fault)) }
    }

    /// Takes white space.
    #[inline]
    pub(in crate::decode) fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.position += 1;
        }
    }

    /// Takes `token` if it is next and is within the record.
    #[inline]
    pub(in crate::decode) fn take_token(&mut self, token: &Token) -> bool {
        let found = self.position + token.text.len() <= self.end
            && match self.bytes.get(self.position..).and_then(<[u8]>::first_chunk::<16>) {
                Some(next) if token.text.len() <= 16 => (u128::from_le_bytes(*next) ^ token.number) & token.mask == 0,
                _ => self.bytes[self.position..].starts_with(&token.text),
            };
        if found {
            self.position += token.text.len();
        }
        found
    }

    /// Takes `true`, `false` or `null`, whose first byte has been seen.
    pub(in crate::decode) fn literal(&mut self, literal: &'static [u8]) -> Result<(), Fault> {
        let end = self.position + literal.len();
        if end > self.end || self.bytes[self.position..end] != *literal {
            return Err(Fault::Syntax("expected true, false or null"));
        }
        self.position = end;
        Ok(())
    }

    /// Eight bytes from here on, zero behind the last one.
    #[inline]
    fn eight(&self, position: usize) -> u64 {
        match self.bytes.get(position..).and_then(<[u8]>::first_chunk::<8>) {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => {
                let mut padded = [0; 8];
                let rest = self.bytes.get(position..).unwrap_or_default();
                padded[..rest.len()].copy_from_slice(rest);
                u64::from_le_bytes(padded)
            }
        }
    }

    /// Takes the digits that are next: their value and number. The value is right up to 18 digits.
    #[inline]
    fn digits(&mut self) -> (u64, usize) {
        const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
        let mut value = 0u64;
        let mut count = 0;
        loop {
            let chunk = self.eight(self.position) ^ (LOW_BITS * 0x30);
            let others = (chunk.wrapping_add(LOW_BITS * 0x76) | chunk) & HIGH_BITS;
            let length = (others.trailing_zeros() as usize / 8).min(self.end - self.position);
            if length == 0 {
                return (value, count);
            }
            value = value.wrapping_mul(POWERS[length]).wrapping_add(eight_digits(chunk << (64 - 8 * length)));
            count += length;
            self.position += length;
            if length < 8 {
                return (value, count);
            }
        }
    }

    /// Takes a number that is written as an integer of at most 18 digits; `None` (and nothing taken) if it is another
    /// number, to be read by [`Cursor::number_text`].
    #[inline]
    pub(in crate::decode) fn short_integer(&mut self) -> Result<Option<i64>, Fault> {
        let start = self.position;
        let negative = self.take(b'-');
        let first = self.peek();
        let (value, count) = self.digits();
        self.check_integer_part(first, count)?;
        if count > 18 || matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            self.position = start;
            return Ok(None);
        }
        let value = value as i64;
        Ok(Some(if negative { -value } else { value }))
    }

    /// Takes a number with few enough digits that one division gives the nearest double; `None` (and nothing taken) if it
    /// has more, to be read by [`Cursor::number_text`].
    #[inline]
    pub(in crate::decode) fn short_double(&mut self) -> Result<Option<f64>, Fault> {
        const POWERS: [f64; 19] =
            [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];
        const EXACT_MAX: u64 = 1 << 53;
        let start = self.position;
        let negative = self.take(b'-');
        let first = self.peek();
        let (whole, whole_count) = self.digits();
        self.check_integer_part(first, whole_count)?;
        let (fraction, count) = if self.take(b'.') { self.digits() } else { (0, 0) };
        let long = whole_count + count > 18 || matches!(self.peek(), Some(b'e' | b'E'));
        let no_fraction = count == 0 && self.bytes[self.position - 1] == b'.';
        let mantissa = if long { u64::MAX } else { whole * 10u64.pow(count as u32) + fraction };
        if no_fraction || mantissa > EXACT_MAX {
            self.position = start;
            return Ok(None);
        }
        // Both are exact, and a division of exact doubles is rounded once.
        let value = mantissa as f64 / POWERS[count];
        Ok(Some(if negative { -value } else { value }))
    }

    #[inline]
    fn check_integer_part(&self, first: Option<u8>, count: usize) -> Result<(), Fault> {
        match (first, count) {
            (_, 0) => Err(Fault::Syntax("expected a digit")),
            (Some(b'0'), 2..) => Err(Fault::Syntax("a number begins with a needless zero")),
            _ => Ok(()),
        }
    }

    /// Takes any number, as it is written.
    pub(in crate::decode) fn number_text(&mut self) -> Result<&'a [u8], Fault> {
        let start = self.position;
        self.take(b'-');
        let first = self.peek();
        let (_, count) = self.digits();
        self.check_integer_part(first, count)?;
        if self.take(b'.') && self.digits().1 == 0 {
            return Err(Fault::Syntax("expected a digit behind the point"));
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            if self.digits().1 == 0 {
                return Err(Fault::Syntax("expected a digit in the exponent"));
            }
        }
        Ok(self.since(start))
    }

    /// Takes a string, whose opening quote is next. Escapes are found, not yet checked: see [`unescape`].
    #[inline]
    pub(in crate::decode) fn string(&mut self) -> Result<RawString<'a>, Fault> {
        self.expect(b'"', "expected a string")?;
        let start = self.position;
        let mut escaped = false;
        loop {
            let chunk = self.eight(self.position);
            // A byte below 0x20, a quote or a backslash; the lowest mark is exact, those above it may not be.
            let control = chunk.wrapping_sub(LOW_BITS * 0x20) & !chunk;
            let quote = zero_bytes(chunk ^ (LOW_BITS * 0x22));
            let backslash = zero_bytes(chunk ^ (LOW_BITS * 0x5c));
            let marks = (control | quote | backslash) & HIGH_BITS;
            if marks == 0 {
                self.position += 8;
                continue;
            }
            self.position += marks.trailing_zeros() as usize / 8;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.position += 2;
                }
                Some(_) => return Err(Fault::Syntax("a control character in a string")),
                None => return Err(Fault::Syntax("a string without an end")),
            }
        }
        let bytes = &self.bytes[start..self.position];
        self.position += 1;
        Ok(RawString { bytes, escaped })
    }

    /// Takes any value, checked but not kept; `depth` objects and arrays are around it.
    pub(in crate::decode) fn skip_value(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => {
                let text = self.string()?;
                if text.escaped { unescape(text.bytes, |_| {}) } else { Ok(()) }
            }
            Some(b'-' | b'0'..=b'9') => match self.short_integer()? {
                Some(_) => Ok(()),
                None => self.number_text().map(|_| ()),
            },
            Some(b'{') => self.skip_object(depth),
            Some(b'[') => self.skip_array(depth),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(_) => Err(Fault::Syntax("expected a value")),
            None => Err(Fault::Syntax("ends where a value is expected")),
        }
    }

    fn skip_object(&mut self, depth: usize) -> Result<(), Fault> {
        self.open(b'{', depth)?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            if key.escaped {
                unescape(key.bytes, |_| {})?;
            }
            self.colon()?;
            self.skip_value(depth + 1)?;
            if self.another(b'}')? {
                continue;
            }
            return Ok(());
        }
    }

    fn skip_array(&mut self, depth: usize) -> Result<(), Fault> {
        self.open(b'[', depth)?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.skip_value(depth + 1)?;
            if self.another(b']')? {
                continue;
            }
            return Ok(());
        }
    }

    /// Takes the bracket that opens an object or array inside `depth` others, and white space.
    #[inline]
    pub(in crate::decode) fn open(&mut self, bracket: u8, depth: usize) -> Result<(), Fault> {
        self.expect(bracket, "expected an object or array")?;
        if depth >= DEPTH_MAX {
            return Err(Fault::Syntax("more than 128 objects and arrays inside each other"));
        }
        self.skip_space();
        Ok(())
    }

    /// Takes the colon behind a key, and white space around it.
    #[inline]
    pub(in crate::decode) fn colon(&mut self) -> Result<(), Fault> {
        self.skip_space();
        self.expect(b':', "expected a colon")?;
        self.skip_space();
        Ok(())
    }

    /// Takes what stands behind an item: a comma (true: another item follows) or the closing bracket.
    #[inline]
    pub(in crate::decode) fn another(&mut self, closing: u8) -> Result<bool, Fault> {
        self.skip_space();
        if self.take(b',') {
            self.skip_space();
            return Ok(true);
        }
        self.expect(closing, "expected a comma or a closing bracket")?;
        Ok(false)
    }
}

/// Bytes that are looked for again and again: those of a key.
#[derive(Clone, Debug)]
pub(in crate::decode) struct Token {
    text: Vec<u8>,
    /// The first 16 bytes, and which of them count.
    number: u128,
    mask: u128,
}

impl Token {
    /// Looks for `text`.
    pub(in crate::decode) fn new(text: &[u8]) -> Token {
        let mut padded = [0; 16];
        let length = text.len().min(16);
        padded[..length].copy_from_slice(&text[..length]);
        let mask = if length == 16 { u128::MAX } else { (1u128 << (8 * length)) - 1 };
        Token { text: text.to_vec(), number: u128::from_le_bytes(padded), mask }
    }
}

/// Marks (in the high bit) the bytes that are zero; marks above the lowest may be wrong.
#[inline]
fn zero_bytes(chunk: u64) -> u64 {
    chunk.wrapping_sub(LOW_BITS) & !chunk
}

/// The value of eight bytes 0 to 9, the first digit lowest.
#[inline]
fn eight_digits(chunk: u64) -> u64 {
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    let pairs = chunk.wrapping_mul(10).wrapping_add(chunk >> 8);
    let upper = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let lower = ((pairs >> 16) & PAIRS).wrapping_mul(1 + (10_000 << 32));
    upper.wrapping_add(lower) >> 32
}

/// Gives the text of an escaped string to `put`, piece by piece. Halves of surrogate pairs are refused: they have no UTF-8.
pub(in crate::decode) fn unescape(raw: &[u8], mut put: impl FnMut(&[u8])) -> Result<(), Fault> {
    const WRONG: Fault = Fault::Syntax("a wrong escape in a string");
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        put(&rest[..at]);
        let kind = *rest.get(at + 1).ok_or(WRONG)?;
        rest = &rest[at + 2..];
        let plain = match kind {
            b'"' | b'\\' | b'/' => kind,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (character, taken) = unicode_escape(rest).ok_or(WRONG)?;
                put(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[taken..];
                continue;
            }
            _ => return Err(WRONG),
        };
        put(&[plain]);
    }
    put(rest);
    Ok(())
}

/// The character that `XXXX` or `XXXX\uXXXX` stands for, and how many bytes that takes.
fn unicode_escape(text: &[u8]) -> Option<(char, usize)> {
    let first = hex4(text)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, 4));
    }
    let second = hex4(text[4..].strip_prefix(b"\\u")?)?;
    if !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    Some((char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))?, 10))
}

fn hex4(text: &[u8]) -> Option<u32> {
    let mut value = 0;
    for byte in text.get(..4)? {
        value = value * 16 + char::from(*byte).to_digit(16)?;
    }
    Some(value)
}
