//! The terminal: sizes, keys, and the picture for those who come later.

use super::*;
use agentsup_supervisor::run::keeper::message::ToKeeper;
use std::num::NonZeroU16;

/// What a terminal of this size shows after these bytes.
fn shown(bytes: &[u8], cols: u16, rows: u16) -> String {
    let cells = |count| NonZeroU16::new(count).unwrap();
    let mut parser = vt100::Parser::new(cells(rows), cells(cols), 100);
    parser.process(bytes);
    parser.screen().contents()
}

#[test]
fn a_resize_reaches_the_program_and_follows_the_active_client() {
    let run = Run::start("trap 'stty size' WINCH; stty size; while :; do read line && stty size; done", PTY);
    run.wait_scrollback("24 80");
    let mut first = Client::attach(&run.dir(), 100, 30);
    first.until_text("30 100");
    first.say(ToKeeper::Resize { cols: 101, rows: 31 });
    first.until_text("31 101");
    let mut second = Client::attach(&run.dir(), 60, 20);
    second.until_text("20 60");
    let status = second.status();
    assert_eq!((status.cols, status.rows, status.attached), (60, 20, 2));
    // The first one types, so its size counts again.
    first.output.clear();
    first.keys(b"\n");
    first.until_text("31 101");
}

#[test]
fn ctrl_c_interrupts_the_program_in_front() {
    let script = "trap 'echo interrupted' INT; echo ready; sleep 1000; echo after; \
                  while :; do sleep 1000; done";
    let run = Run::start(script, PTY);
    let mut client = Client::attach(&run.dir(), 80, 24);
    client.until_text("ready");
    // The shell may have said so before there was anything to interrupt.
    let interrupted = |client: &mut Client| {
        client.keys(b"\x03");
        client.status();
        String::from_utf8_lossy(&client.output).contains("after")
    };
    assert!(until(PATIENCE, || interrupted(&mut client)));
    assert!(String::from_utf8_lossy(&client.output).contains("interrupted"));
}

/// Draws once, and again only when the size changes: like every full-screen program.
const FULL_SCREEN: &str = r#"
draw() { set -- $(stty size); printf '\033[H\033[2J\033[1;1Hheader %sx%s\033[%s;1Hfooter' "$2" "$1" "$1"; echo x >> drawn; }
trap draw WINCH
printf '\033[?1049h\033[?1000h\033[?2004h\033[?25l\033]2;the title\007'
draw
while :; do sleep 0.05; done
"#;

#[test]
fn a_full_screen_program_is_whole_for_a_client_that_comes_later() {
    let run = Run::start(FULL_SCREEN, PTY);
    run.wait_scrollback("footer");
    let mut first = Client::attach(&run.dir(), 80, 24);
    // The model's picture comes at once and has the modes.
    first.until("a redraw", |client| !client.redraws.is_empty());
    let redraw = String::from_utf8(first.redraws[0].clone()).unwrap();
    for mode in ["\x1b[?1049h", "\x1b[?1000h", "\x1b[?2004h", "\x1b[?25l", "\x1b]2;the title\x1b\\"] {
        assert!(redraw.contains(mode), "{mode:?} in {redraw:?}");
    }
    assert_eq!(shown(redraw.as_bytes(), 80, 24), format!("header 80x24{}footer", "\n".repeat(23)));
    // And the program itself is made to draw again although the size is the same.
    first.output.clear();
    first.until_text("header 80x24");
    drop(first);
    // Another size: everything is drawn for that one.
    let mut second = Client::attach(&run.dir(), 50, 10);
    second.until_text("header 50x10");
    second.until("the whole picture", |client| {
        shown(&client.output, 50, 10) == format!("header 50x10{}footer", "\n".repeat(9))
    });
    assert_eq!(second.status().title, "the title");
}

/// The first number of a page of 23 consecutive ones, once it is whole.
fn page(bytes: &[u8]) -> Option<u32> {
    let screen = shown(bytes, 80, 24);
    let numbers: Option<Vec<u32>> = screen.lines().take(23).map(|line| line.parse().ok()).collect();
    let numbers = numbers?;
    let whole = numbers.len() == 23 && numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    whole.then(|| numbers[0])
}

#[test]
fn real_full_screen_programs_come_back_whole() {
    let run = Run::start("seq 1 500 > numbers; exec less numbers", PTY);
    run.wait_scrollback("numbers");
    let mut first = Client::attach(&run.dir(), 80, 24);
    first.until("the first page", |client| page(&client.output) == Some(1));
    // `less` forgets what is typed while it takes notice of a new size, so the key that may be typed twice.
    let at_end = |client: &mut Client| {
        client.keys(b"G");
        client.status();
        page(&client.output) == Some(478)
    };
    assert!(until(PATIENCE, || at_end(&mut first)), "{}", shown(&first.output, 80, 24));
    drop(first);
    let mut second = Client::attach(&run.dir(), 80, 24);
    second.until("the last page again", |client| page(&client.output) == Some(478));
}

#[test]
fn the_lines_above_the_screen_come_with_it() {
    let run = Run::start("seq 1 100; cat", PTY);
    run.wait_scrollback("100\r\n");
    let mut client = Client::attach(&run.dir(), 80, 24);
    client.until("a redraw", |client| !client.redraws.is_empty());
    let mut parser = vt100::Parser::new(NonZeroU16::new(24).unwrap(), NonZeroU16::new(80).unwrap(), 500);
    parser.process(&client.output);
    assert!(parser.screen().contents().starts_with("78\n79\n"));
    parser.screen_mut().set_scrollback(77);
    assert!(parser.screen().contents().starts_with("1\n2\n3\n"), "{}", parser.screen().contents());
}

#[test]
fn an_awaited_client_sees_the_output_from_its_first_byte() {
    let run = Run::start_with("printf 'one\\ntwo'; exit 6", PTY, |spec| {
        spec.first_client = FirstClient::Awaited;
    });
    run.wait_exit();
    let mut client = Client::attach(&run.dir(), 80, 24);
    client.until_exit();
    assert_eq!((client.output, client.redraws), (b"one\r\ntwo".to_vec(), Vec::<Vec<u8>>::new()));
    run.wait_gone();
}
