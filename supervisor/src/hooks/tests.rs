//! What an agent could write to slip past the gate.

mod bypass;
