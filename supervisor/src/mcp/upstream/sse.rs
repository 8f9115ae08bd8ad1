//! Server-sent events, as far as MCP uses them: the data of each event, and nothing else.
//!
//! Bytes come in any pieces. Invariant: the buffer holds at most one unfinished event of at most the given size.

use bytes::{Buf as _, BytesMut};

/// An event is larger than allowed, or not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventError {
    /// Larger than the limit.
    #[error("an event is larger than {0} bytes")]
    TooLarge(usize),
    /// Not text.
    #[error("an event is not UTF-8")]
    Encoding,
}

/// Takes events out of a stream of bytes.
pub(super) struct Events {
    buffer: BytesMut,
    /// Bytes of the buffer already searched for a line's end.
    searched: usize,
    data: Vec<u8>,
    lines: usize,
    limit: usize,
    at_start: bool,
}

impl Events {
    /// Events of at most `limit` bytes each.
    pub(super) fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, data: Vec::new(), lines: 0, limit, at_start: true }
    }

    /// Adds bytes; then [`Events::next_data`] until it gives nothing.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The data of the next complete event that has any.
    pub(super) fn next_data(&mut self) -> Result<Option<String>, EventError> {
        while let Some((length, skip)) = self.line_end() {
            let line = self.buffer.split_to(length);
            self.buffer.advance(skip);
            self.searched = 0;
            let line = if std::mem::take(&mut self.at_start) {
                line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&line)
            } else {
                &line
            };
            if line.is_empty() {
                if std::mem::take(&mut self.lines) > 0 {
                    let data = String::from_utf8(std::mem::take(&mut self.data));
                    return data.map(Some).map_err(|_| EventError::Encoding);
                }
                continue;
            }
            let Some(rest) = line.strip_prefix(b"data") else { continue };
            let value = match rest {
                [] => &[][..],
                [b':', b' ', value @ ..] | [b':', value @ ..] => value,
                _ => continue,
            };
            if self.lines > 0 {
                self.data.push(b'\n');
            }
            self.lines += 1;
            self.data.extend_from_slice(value);
            if self.data.len() > self.limit {
                return Err(EventError::TooLarge(self.limit));
            }
        }
        if self.buffer.len() > self.limit { Err(EventError::TooLarge(self.limit)) } else { Ok(None) }
    }

    /// Length of the first line and of the line break after it. A `\r` at the very end may be half of a break.
    fn line_end(&mut self) -> Option<(usize, usize)> {
        let found = memchr::memchr2(b'\n', b'\r', self.buffer.get(self.searched..)?);
        let Some(at) = found.map(|at| at + self.searched) else {
            self.searched = self.buffer.len();
            return None;
        };
        match (self.buffer.get(at), self.buffer.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => Some((at, 2)),
            (Some(b'\r'), None) => {
                self.searched = at;
                None
            }
            _ => Some((at, 1)),
        }
    }
}

/// One event with `data`, for agents.
pub(crate) fn event(data: &str) -> String {
    let mut out = String::with_capacity(data.len() + 24);
    out.push_str("event: message\n");
    for line in data.split(['\n', '\r']) {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(pieces: &[&[u8]], limit: usize) -> Result<Vec<String>, EventError> {
        let mut events = Events::new(limit);
        let mut found = Vec::new();
        for piece in pieces {
            events.push(piece);
            while let Some(data) = events.next_data()? {
                found.push(data);
            }
        }
        Ok(found)
    }

    #[test]
    fn only_data_counts_and_lines_are_joined() {
        let text = b"\xef\xbb\xbfid: 1\nevent: message\ndata: {\ndata:1}\n\n: ping\n\nretry: 5\n\ndata\n\ndatax: no\n\ndata: last\n\ndata: cut";
        assert_eq!(all(&[text], 1000).unwrap(), ["{\n1}", "", "last"]);
    }

    #[test]
    fn every_kind_of_line_break_ends_a_line() {
        assert_eq!(all(&[b"data: a\r\n\r\ndata: b\r\rdata: c\n\n"], 100).unwrap(), ["a", "b", "c"]);
        assert_eq!(all(&[b"data: a\r", b"\n\r", b"\ndata: b\n\n"], 100).unwrap(), ["a", "b"]);
    }

    #[test]
    fn an_endless_event_ends_in_an_error() {
        assert_eq!(all(&[&b"x".repeat(101)], 100), Err(EventError::TooLarge(100)));
        assert_eq!(all(&[&b"data: 0123456789\n".repeat(20)], 100), Err(EventError::TooLarge(100)));
        assert_eq!(all(&[b"data: \xff\n\n"], 100), Err(EventError::Encoding));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_our_own_events_come_back(
            texts in prop::collection::vec("[^\\r]{0,20}", 0..6), cuts in prop::collection::vec(1..9_usize, 0..60),
        ) {
            let whole: String = texts.iter().map(|text| event(text)).collect();
            let mut rest = whole.as_bytes();
            let mut pieces = Vec::new();
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                pieces.push(head);
                rest = tail;
            }
            pieces.push(rest);
            prop_assert_eq!(all(&pieces, 10_000).unwrap(), texts);
        }
    }
}
