//! The kitty keyboard protocol's flags, a stack for each of the two screens.

/// Deeper stacks than any program builds; terminals drop the oldest entry as well.
const DEPTH_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Kitty {
    flags: u16,
    below: Vec<u16>,
}

impl Kitty {
    pub(super) fn push(&mut self, flags: u16) {
        if self.below.len() == DEPTH_MAX {
            self.below.remove(0);
        }
        self.below.push(std::mem::replace(&mut self.flags, flags));
    }

    pub(super) fn pop(&mut self, count: u16) {
        for _ in 0..usize::from(count).min(DEPTH_MAX) {
            self.flags = self.below.pop().unwrap_or(0);
        }
    }

    pub(super) fn set(&mut self, flags: u16, how: u16) {
        match how {
            2 => self.flags |= flags,
            3 => self.flags &= !flags,
            _ => self.flags = flags,
        }
    }

    /// From no flags and an empty stack to these.
    pub(super) fn enter(&self) -> Vec<u8> {
        let mut levels = self.below.iter().chain([&self.flags]);
        let mut out = String::new();
        if let Some(base) = levels.next().filter(|base| **base != 0) {
            out += &format!("\x1b[={base};1u");
        }
        for flags in levels {
            out += &format!("\x1b[>{flags}u");
        }
        out.into_bytes()
    }

    /// From these to no flags and an empty stack.
    pub(super) fn leave(&self) -> Vec<u8> {
        let mut out = String::new();
        if !self.below.is_empty() {
            out += &format!("\x1b[<{}u", self.below.len());
        }
        if self.below.first().unwrap_or(&self.flags) != &0 {
            out += "\x1b[=0;1u";
        }
        out.into_bytes()
    }
}
