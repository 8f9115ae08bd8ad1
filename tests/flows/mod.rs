//! What a user does, from end to end.

mod keeper;
