use super::*;
use proptest::prelude::*;

fn tracked(bytes: &[u8]) -> Tracker {
    let mut tracker = Tracker::default();
    tracker.feed(bytes);
    tracker
}

fn entered(bytes: &[u8]) -> String {
    let tracker = tracked(bytes);
    let mut out = tracker.enter_screen();
    out.extend(tracker.enter((2, 4)));
    String::from_utf8(out).unwrap()
}

fn left(bytes: &[u8]) -> String {
    String::from_utf8(tracked(bytes).leave()).unwrap()
}

#[test]
fn a_base_terminal_needs_nothing_to_enter_and_only_plain_text_to_leave() {
    assert_eq!(entered(b"plain \x1b[31mred\x1b[0m \xc3\xa4"), "");
    assert_eq!(left(b"plain"), "\x1b[m");
}

#[test]
fn modes_are_entered_and_left_in_opposite_order() {
    let tui = b"\x1b[?1049h\x1b[?1000;1006h\x1b[?1004h\x1b[?2004h\x1b[?25l\x1b[?1h\x1b=\x1b[5 q\x1b[>1u";
    assert_eq!(
        entered(tui),
        "\x1b[?1049h\x1b[>1u\x1b[?1h\x1b[?1000h\x1b[?1004h\x1b[?1006h\x1b[?25l\x1b[?2004h\x1b=\x1b[5 q"
    );
    assert_eq!(
        left(tui),
        "\x1b[?2004l\x1b[?25h\x1b[?1006l\x1b[?1004l\x1b[?1000l\x1b[?1l\x1b>\x1b[0 q\x1b[m\x1b[<1u\x1b[?1049l"
    );
}

#[test]
fn what_a_program_undoes_itself_is_not_undone_again() {
    let done = b"\x1b[?1049h\x1b[>5u\x1b[?2004h\x1b[2;9r\x1b(0\x1b(B\x1b[r\x1b[?2004l\x1b[<u\x1b[?1049l";
    assert_eq!(entered(done), "");
    assert_eq!(left(done), "\x1b[m");
    assert_eq!(left(b"\x1b[?1049h\x1b[?2004h\x1bc"), "\x1b[m");
}

#[test]
fn the_keyboard_stack_is_rebuilt_level_by_level_and_per_screen() {
    assert_eq!(entered(b"\x1b[=3u\x1b[>1u\x1b[>9u\x1b[=2;3u"), "\x1b[=3;1u\x1b[>1u\x1b[>9u");
    assert_eq!(left(b"\x1b[=3u\x1b[>1u\x1b[>9u"), "\x1b[m\x1b[<2u\x1b[=0;1u");
    assert_eq!(entered(b"\x1b[>1u\x1b[?1049h\x1b[>7u"), "\x1b[>1u\x1b[?1049h\x1b[>7u");
    assert_eq!(entered(b"\x1b[>1u\x1b[?1049h\x1b[>7u\x1b[?1049l"), "\x1b[>1u");
}

#[test]
fn a_scroll_region_keeps_the_cursor_where_it_was() {
    assert_eq!(entered(b"\x1b[2;9r"), "\x1b[2;9r\x1b[3;5H");
    assert_eq!(left(b"\x1b[2;9r"), "\x1b7\x1b[r\x1b8\x1b[m");
}

#[test]
fn a_title_is_kept_without_control_characters() {
    let mut tracker = tracked(b"\x1b]0;one\x07\x1b]2;t\x01w\xc3\xb6\x1b\\");
    assert_eq!(tracker.title(), "twö");
    tracker.feed(b"\x1b]2;three\x1b[m");
    assert_eq!(tracker.title(), "twö");
    assert!(tracker.is_between());
}

#[test]
fn an_unfinished_sequence_or_character_is_pending() {
    assert_eq!(tracked(b"abc\x1b[38;2;1").pending(), b"\x1b[38;2;1");
    assert_eq!(tracked(b"abc\xf0\x9f\x98").pending(), b"\xf0\x9f\x98");
    assert_eq!(tracked("abc😀".as_bytes()).pending(), b"");
    assert_eq!(tracked(b"\x1b]52;c;AAA").pending(), b"\x1b]52;c;AAA");
    assert_eq!(tracked(b"x\x1b").pending(), b"\x1b");
    assert!(!tracked(b"\x1b]52;c;AAA\x1b").is_between());
    assert_eq!(left(b"\x1b]2;unfinished"), "\x18\x1b\\\x1b[m");
}

#[test]
fn an_endless_string_takes_bounded_memory() {
    let mut tracker = tracked(b"\x1b]1337;");
    for _ in 0..100 {
        tracker.feed(&[b'A'; 10_000]);
    }
    assert_eq!(tracker.pending().len(), STRING_MAX);
    let mut tracker = tracked(b"\x1b[");
    tracker.feed(&[b'1'; 10_000]);
    assert_eq!(tracker.pending().len(), SEQUENCE_MAX);
    tracker.feed(b"h");
    assert!(tracker.is_between());
}

#[test]
fn a_stream_that_stops_in_the_middle_of_a_strings_end_can_be_taken_over() {
    let mut agent = tracked(b"\x1b]2;title\x1b");
    assert_eq!(agent.pending(), b"\x1b]2;title\x1b");
    let mut terminal = tracked(agent.pending());
    agent.feed(b"\\");
    terminal.feed(b"\\");
    assert_eq!((agent.title(), terminal.title()), ("title", "title"));
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "[a-zä😀 ]{0,6}".prop_map(String::into_bytes),
        prop::sample::select(vec![
            &b"\x1b[?1049h"[..],
            b"\x1b[?1049l",
            b"\x1b[?2004h",
            b"\x1b[?1000;1006h",
            b"\x1b[>1u",
            b"\x1b[<u",
            b"\x1b]2;title\x07",
            b"\x1b[3;7r",
            b"\x1b(0",
            b"\x1b[4 q",
            b"\x1b[!p",
            b"\x1bPq",
        ])
        .prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..5),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn the_state_does_not_depend_on_how_the_stream_is_cut(bytes in stream(), cut in 1usize..7) {
        let whole = tracked(&bytes);
        let mut pieces = Tracker::default();
        for piece in bytes.chunks(cut) {
            pieces.feed(piece);
        }
        prop_assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    }

    #[test]
    fn entering_reproduces_the_state_and_leaving_takes_it_back(bytes in stream()) {
        let agent = tracked(&bytes);
        let mut terminal = Tracker::default();
        terminal.feed(&agent.enter_screen());
        terminal.feed(&agent.enter((0, 0)));
        terminal.feed(agent.pending());
        prop_assert_eq!(format!("{agent:?}"), format!("{terminal:?}"));
        let leave = terminal.leave();
        terminal.feed(&leave);
        prop_assert_eq!(String::from_utf8(terminal.leave()).unwrap(), "\x1b[m");
    }
}

#[test]
fn only_a_stream_that_has_set_something_has_altered_its_terminal() {
    let after = |bytes: &[u8]| {
        let mut tracker = Tracker::default();
        tracker.feed(bytes);
        tracker.is_altered()
    };
    assert!(!after(b"plain \x1b[1mbold\x1b[0m text\r\n"));
    assert!(after(b"\x1b[?1049h") && after(b"\x1b[?2004h") && after(b"\x1b]0;unfinished"));
    assert!(!after(b"\x1b[?1049h\x1b[?1000h\x1b[?1000l\x1b[?1049l"));
}
