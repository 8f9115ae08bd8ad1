//! Takes single events out of a stream on its way to the client: those that are there only because the gateway asked
//! for them.
//!
//! Invariants: every other byte passes, in order and unchanged; nothing but the event under way is held back; memory is
//! bounded, and what exceeds it passes unsieved.

use bytes::Bytes;

/// The most of one event that is held back.
const LARGEST: usize = 1024 * 1024;

/// One stream's sieve.
pub(super) struct Sieve {
    /// Which events do not pass, by their data.
    unasked: fn(&[u8]) -> bool,
    /// The event under way.
    held: Vec<u8>,
    /// Whether its last line, not yet ended, has anything in it.
    within_line: bool,
    /// The event under way is too large and passes as it comes.
    overflown: bool,
}

impl Sieve {
    pub(super) const fn new(unasked: fn(&[u8]) -> bool) -> Self {
        Self { unasked, held: Vec::new(), within_line: false, overflown: false }
    }

    /// What may pass once these bytes have come.
    pub(super) fn pass(&mut self, chunk: &[u8]) -> Bytes {
        let mut passed = Vec::with_capacity(self.held.len() + chunk.len());
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            if self.overflown {
                passed.extend_from_slice(piece);
            } else {
                self.held.extend_from_slice(piece);
            }
            self.within_line |= piece.iter().any(|byte| !b"\r\n".contains(byte));
            if piece.ends_with(b"\n") && !std::mem::take(&mut self.within_line) {
                self.overflown = false;
                if self.held.is_empty() || !(self.unasked)(&data(&self.held)) {
                    passed.append(&mut self.held);
                }
                self.held.clear();
            } else if self.held.len() > LARGEST {
                passed.append(&mut self.held);
                self.overflown = true;
            }
        }
        passed.into()
    }

    /// What is left when the stream has ended.
    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.held).into()
    }
}

/// The data of an event, its lines joined.
fn data(event: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    for line in event.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(value) = line.strip_prefix(b"data:") else { continue };
        if !data.is_empty() {
            data.push(b'\n');
        }
        data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
    }
    data
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": hello\n\ndata: {\"a\":1}\n\nevent: x\r\ndata: drop\r\n\r\ndata: dr\ndata: op\n\ndata: drop\n\nid: 1\n\ndata: [DONE]\n\ndata: dro";
    const PASSED: &str =
        ": hello\n\ndata: {\"a\":1}\n\ndata: dr\ndata: op\n\nid: 1\n\ndata: [DONE]\n\ndata: dro";

    fn sieved<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut sieve = Sieve::new(|data| data == b"drop");
        let mut passed = Vec::new();
        for chunk in chunks {
            passed.extend_from_slice(&sieve.pass(chunk));
        }
        passed.extend_from_slice(&sieve.rest());
        passed
    }

    #[test]
    fn only_the_unasked_event_is_missing_wherever_the_stream_is_cut() {
        for at in 0..=STREAM.len() {
            let (one, two) = STREAM.as_bytes().split_at(at);
            assert_eq!(sieved([one, two]), PASSED.as_bytes(), "cut at {at}");
        }
    }

    #[test]
    fn whole_events_are_not_held_back() {
        let mut sieve = Sieve::new(|data| data == b"drop");
        assert_eq!(sieve.pass(b"data: 1\n\ndata: 2"), &b"data: 1\n\n"[..]);
        assert_eq!(sieve.pass(b"\n\ndata: drop\n"), &b"data: 2\n\n"[..]);
        assert_eq!(sieve.pass(b"\n"), &b""[..]);
    }

    #[test]
    fn an_event_too_large_to_be_held_passes() {
        let mut sieve = Sieve::new(|_| true);
        let large = vec![b'x'; LARGEST];
        assert!(sieve.pass(b"data: ").is_empty());
        assert_eq!(sieve.pass(&large).len(), LARGEST + 6);
        assert_eq!(sieve.pass(b"y\n"), &b"y\n"[..]);
        assert_eq!(sieve.pass(b"\ndata: z\n\n"), &b"\n"[..]);
    }

    proptest! {
        #[test]
        fn without_anything_unasked_all_passes(chunks in proptest::collection::vec("[a\r\n:]{0,9}", 0..9)) {
            let mut sieve = Sieve::new(|_| false);
            let mut passed = Vec::new();
            for chunk in &chunks {
                passed.extend_from_slice(&sieve.pass(chunk.as_bytes()));
            }
            passed.extend_from_slice(&sieve.rest());
            prop_assert_eq!(passed, chunks.concat().into_bytes());
        }
    }
}
