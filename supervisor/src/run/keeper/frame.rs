//! The framing on a keeper's socket. Bounded: a peer that announces more than [`FRAME_MAX`] is cut off before a byte
//! of it is stored.

use std::io::{self, Read};

/// The longest frame body (kind and payload), in bytes.
pub const FRAME_MAX: usize = 1024 * 1024;

/// The longest run of terminal bytes put into one frame, so that nobody waits for a long one.
pub const CHUNK_MAX: usize = 64 * 1024;

const HEADER: usize = 4;

/// One message on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Why a peer cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The announced length is zero or beyond the bound.
    #[error("frame of {0} bytes (allowed are 1 to {FRAME_MAX})")]
    Length(usize),
    /// Nobody here speaks this kind.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// The payload is not what its kind promises.
    #[error("frame payload: {0}")]
    Payload(serde_json::Error),
    /// The connection broke.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
}

impl Frame {
    /// Appends the wire form to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        encode(self.kind, &self.payload, out)
    }
}

/// Appends a frame of `kind` around `payload` to `out`.
pub fn encode(kind: u8, payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let length = payload.len() + 1;
    if length > FRAME_MAX {
        return Err(FrameError::Length(length));
    }
    let header = u32::try_from(length).map_err(|_| FrameError::Length(length))?;
    out.reserve(HEADER + length);
    out.extend_from_slice(&header.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(payload);
    Ok(())
}

/// Puts frames together from whatever pieces a stream delivers.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Takes more bytes in. The caller asks for [`next_frame`](Self::next_frame) until there is none before the next
    /// push, so that the buffer stays below one frame and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it is there.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.buffer[self.start..];
        let Some((header, body)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if length == 0 || length > FRAME_MAX {
            return Err(FrameError::Length(length));
        }
        let Some(frame) = body.get(..length) else {
            return Ok(None);
        };
        let frame = Frame { kind: frame[0], payload: frame[1..].to_vec() };
        self.start += HEADER + length;
        Ok(Some(frame))
    }

    /// Reads once from `stream` and takes in what came; `false` at the end of the stream.
    pub fn read_from(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        let count = stream.read(&mut piece)?;
        self.push(&piece[..count]);
        Ok(count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::keeper::message::{FromKeeper, Hello, Mode, ToKeeper, VERSION};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_survive_any_split_of_the_stream(
            frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..12),
            cuts in prop::collection::vec(1usize..64, 1..40),
        ) {
            let frames: Vec<Frame> =
                frames.into_iter().map(|(kind, payload)| Frame { kind, payload }).collect();
            let mut wire = Vec::new();
            for frame in &frames {
                frame.encode(&mut wire).unwrap();
            }
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            let mut rest = wire.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    got.push(frame);
                }
                rest = after;
            }
            prop_assert_eq!(got, frames);
        }

        #[test]
        fn input_bytes_come_out_as_they_went_in(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let message = ToKeeper::Input(bytes);
            let frame = message.clone().into_frame().unwrap();
            prop_assert_eq!(ToKeeper::from_frame(frame).unwrap(), message);
        }
    }

    #[test]
    fn a_length_of_zero_or_beyond_the_bound_is_refused_before_the_body_arrives() {
        for length in [0u32, 1_048_577, u32::MAX] {
            let mut decoder = Decoder::default();
            decoder.push(&length.to_be_bytes());
            assert!(matches!(decoder.next_frame(), Err(FrameError::Length(_))), "{length}");
        }
        assert!(encode(b'o', &vec![0; FRAME_MAX], &mut Vec::new()).is_err());
    }

    #[test]
    fn a_payload_that_is_not_what_its_kind_promises_is_refused() {
        let hello = Frame { kind: b'H', payload: b"[]".to_vec() };
        assert!(matches!(ToKeeper::from_frame(hello), Err(FrameError::Payload(_))));
        let unknown = Frame { kind: 0, payload: Vec::new() };
        assert!(matches!(FromKeeper::from_frame(unknown), Err(FrameError::Kind(0))));
        let size_is_optional =
            Frame { kind: b'H', payload: br#"{"version":1,"mode":"control","later":1}"#.to_vec() };
        assert_eq!(
            ToKeeper::from_frame(size_is_optional).unwrap(),
            ToKeeper::Hello(Hello { version: VERSION, mode: Mode::Control, cols: 0, rows: 0 })
        );
    }
}
