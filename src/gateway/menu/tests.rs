//! Tests the menu on a terminal emulator.

use std::num::NonZeroU16;

use proptest::prelude::*;
use rstest::rstest;

use super::language::Language;
use super::model::{Action, Choice, Entry, Progress};
use super::terminal_menu::Menu;
use crate::gateway::bridge::Size;

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

fn emulator(rows: u16, columns: u16) -> vt100::Parser {
    vt100::Parser::new(cells(rows), cells(columns), 0)
}

fn size(columns: u32, rows: u32) -> Size {
    Size { columns, rows, width: 0, height: 0 }
}

fn entry(name: &str, logins: &[&str], groups: &[&str], description: &str) -> Entry {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Entry { name: name.into(), logins: owned(logins), groups: owned(groups), description: description.into() }
}

fn entries() -> Vec<Entry> {
    vec![
        entry("db-1", &["postgres"], &["db"], "订单数据库（主）"),
        entry("web-1", &["root", "deploy"], &["web"], "The shop's front end"),
        entry("web-2", &["root"], &["web"], ""),
    ]
}

/// A menu on an emulated terminal.
struct TestTerminal {
    menu: Menu,
    emulator: vt100::Parser,
}

impl TestTerminal {
    fn new(columns: u16, rows: u16, language: Language, entries: Vec<Entry>) -> Self {
        let mut menu = Menu::new("alice", "xterm", size(columns.into(), rows.into()), language);
        let mut emulator = emulator(rows, columns);
        emulator.process(b"$ ssh alice@gateway\r\n");
        emulator.process(&menu.output());
        menu.set_entries(entries, 0);
        let mut terminal = Self { menu, emulator };
        terminal.show();
        terminal
    }

    fn show(&mut self) {
        self.emulator.process(&self.menu.output());
    }

    fn type_in(&mut self, text: &str) -> Option<Action> {
        let action = text.bytes().find_map(|byte| self.menu.input(byte));
        let at_end = if self.menu.is_in_sequence() { self.menu.end_sequence() } else { None };
        self.show();
        action.or(at_end)
    }

    fn rows(&self) -> Vec<String> {
        let (_, columns) = self.emulator.screen().size();
        self.emulator.screen().rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect()
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as the menu returns it")]
fn connect(target: &str, login: &str) -> Option<Action> {
    Some(Action::Connect(Choice { target: target.into(), login: login.into() }))
}

#[test]
fn the_menu_uses_the_alternate_screen() {
    let mut terminal = TestTerminal::new(80, 10, Language::English, entries());
    let expected = [
        "Bastion: choose a target, alice",
        "Search:                                                                     3/3",
        "",
        "> db-1   postgres      订单数据库（主） [db]",
        "  web-1  root, deploy  The shop's front end [web]",
        "  web-2  root          [web]",
        "",
        "",
        "",
        "Type to search, arrow keys to move, Enter to connect, Esc to leave",
    ];
    assert_eq!(terminal.rows(), expected);
    assert_eq!(terminal.emulator.screen().cursor_position(), (1, 8));
    terminal.emulator.process(terminal.menu.close());
    assert_eq!(terminal.rows()[0], "$ ssh alice@gateway", "closing restores the screen");
    assert!(!terminal.emulator.screen().alternate_screen());
    terminal.type_in("");
}

#[test]
fn the_menu_measures_chinese_text() {
    let mut terminal = TestTerminal::new(60, 8, Language::Chinese, entries());
    terminal.type_in("订单");
    let expected = [
        "堡垒机：alice，请选择目标",
        "搜索：订单                                              1/3",
        "",
        "> db-1  postgres  订单数据库（主） [db]",
        "",
        "",
        "",
        "输入可搜索，方向键移动，回车连接，Esc 退出",
    ];
    assert_eq!(terminal.rows(), expected);
    assert_eq!(terminal.emulator.screen().cursor_position(), (1, 10), "behind two wide characters");
}

#[test]
fn a_target_with_several_logins_asks_for_one() {
    let mut terminal = TestTerminal::new(80, 24, Language::English, entries());
    assert_eq!(terminal.type_in("web-1\r"), None);
    assert_eq!(terminal.rows()[0], "Bastion: choose a login on web-1");
    assert_eq!(&terminal.rows()[3..5], ["> root", "  deploy"]);
    assert_eq!(terminal.type_in("\x1b"), None);
    assert_eq!(terminal.rows()[0], "Bastion: choose a target, alice", "Escape goes back");
    assert_eq!(terminal.type_in("\r\x1b[B\r"), connect("web-1", "deploy"));
}

#[rstest]
#[case("\r", connect("db-1", "postgres"))]
#[case("\x1b[B\x1b[B\r", connect("web-2", "root"))]
#[case("\x1bOF\r", connect("web-2", "root"))]
#[case("shop\rdep\r", connect("web-1", "deploy"))]
#[case("nothing like it\r", None)]
#[case("nothing\x15web-2\r", connect("web-2", "root"))]
#[case("\x1b", Some(Action::Quit))]
#[case("web\x03", Some(Action::Quit))]
#[case("\x04", Some(Action::Quit))]
fn keys_lead_to_actions(#[case] keys: &str, #[case] expected: Option<Action>) {
    assert_eq!(TestTerminal::new(80, 24, Language::English, entries()).type_in(keys), expected);
}

#[rstest]
#[case(20, 5, &["> we            3/3", "> web-000000000000…", "  web-1", "  web-2", "Esc: leave"])]
#[case(20, 3, &["> we            3/3", "> web-000000000000…", "  web-1"])]
#[case(20, 2, &["> we            3/3", "> web-000000000000…"])]
fn a_small_terminal_shows_the_list(#[case] columns: u16, #[case] rows: u16, #[case] expected: &[&str]) {
    let names = ["web-00000000000000000", "web-1", "web-2"];
    let entries = names.iter().map(|name| entry(name, &["root"], &["web"], "a server")).collect();
    let mut terminal = TestTerminal::new(columns, rows, Language::English, entries);
    terminal.type_in("we");
    assert_eq!(terminal.rows(), expected);
}

#[test]
fn a_resized_terminal_is_redrawn() {
    let mut terminal = TestTerminal::new(80, 24, Language::English, entries());
    terminal.type_in("\x1b[B");
    terminal.emulator.screen_mut().set_size(cells(6), cells(30));
    terminal.menu.resize(size(30, 6));
    terminal.show();
    assert_eq!(terminal.rows()[2..5], ["  db-1", "> web-1", "  web-2"]);
    assert_eq!(terminal.rows()[5], "Enter, or Esc: leave");
}

#[test]
fn progress_notices_and_unchecked_targets_are_shown() {
    let mut menu = Menu::new("alice", "xterm", size(0, 0), Language::English);
    let mut terminal = emulator(24, 80);
    menu.set_progress(Progress { done: 7, total: 300 });
    assert_eq!((menu.input(b'w'), menu.input(b'\r')), (None, None), "typing ahead only searches");
    terminal.process(&menu.output());
    assert!(terminal.screen().contents().contains("Checking what you may use… 7/300"));
    menu.set_entries(entries(), 2);
    terminal.process(&menu.output());
    let shown = terminal.screen().contents();
    assert!(shown.contains("Not shown, because your rights could not be checked: 2"), "{shown}");
    assert!(shown.contains("> web-1") && !shown.contains("db-1"), "{shown}");
    menu.show_notice("bastion: \x1b[31mno");
    terminal.process(&menu.output());
    assert!(terminal.screen().contents().contains("bastion: [31mno"));
}

#[test]
fn a_dumb_terminal_gets_a_numbered_list() {
    let mut menu = Menu::new("alice", "dumb", size(80, 24), Language::English);
    menu.set_entries(entries(), 0);
    let expected = "Bastion: choose a target, alice\r\n  1) db-1  postgres  订单数据库（主） [db]\r\n  \
                    2) web-1  root, deploy  The shop's front end [web]\r\n  3) web-2  root  [web]\r\n\
                    Number or name (Ctrl-C to leave): ";
    assert_eq!(String::from_utf8(menu.output()).unwrap(), expected);
    let type_in = |menu: &mut Menu, text: &str| text.bytes().find_map(|byte| menu.input(byte));
    assert_eq!(type_in(&mut menu, "wex\x7fb\r"), None);
    let listed = String::from_utf8(menu.output()).unwrap();
    assert!(listed.contains("  1) web-1") && listed.contains("  2) web-2") && !listed.contains("db-1"), "{listed}");
    assert_eq!(type_in(&mut menu, "1\r"), None);
    assert!(String::from_utf8(menu.output()).unwrap().contains("choose a login on web-1"));
    assert_eq!(type_in(&mut menu, "9\r2\r"), connect("web-1", "deploy"));
}

#[rstest]
#[case("3\r", connect("web-2", "root"))]
#[case("db-1\r", connect("db-1", "postgres"))]
#[case("订单\r", connect("db-1", "postgres"))]
#[case("0\r\x03", Some(Action::Quit))]
fn answers_lead_to_actions(#[case] keys: &str, #[case] expected: Option<Action>) {
    let mut menu = Menu::new("alice", "dumb", size(80, 24), Language::English);
    menu.set_entries(entries(), 0);
    assert_eq!(keys.bytes().find_map(|byte| menu.input(byte)), expected);
}

/// Returns whether the output contains no control sequences except the menu's own.
fn has_only_own_sequences(output: &str) -> bool {
    let own = |rest: &str| {
        ["?1049h", "0m", "7m", "H", "2J", "K"].iter().any(|own| rest.starts_with(own))
            || rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('H')
    };
    let mut parts = output.split("\x1b[");
    let first = parts.next().unwrap_or_default();
    let is_printable = |text: &str| !text.chars().any(char::is_control);
    is_printable(first) && parts.all(|part| own(part) && is_printable(part))
}

proptest! {
    #[test]
    fn no_input_makes_the_menu_emit_other_sequences(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\x1b[ABFH56~O\r\x7fwe".to_vec())], 0..200),
        sizes in prop::collection::vec((any::<u32>(), 0_u32..60), 1..4),
        name in "\\PC{0,30}",
        description in any::<String>(),
        logins in prop::collection::vec(any::<String>(), 1..4),
    ) {
        let (columns, rows) = sizes[0];
        let mut menu = Menu::new(&name, "xterm", size(columns % 300, rows), Language::Chinese);
        let logins: Vec<&str> = logins.iter().map(String::as_str).collect();
        let hostile = vec![entry(&description, &logins, &[&name], &description), entry("web-1", &logins, &[], &name)];
        menu.set_entries(hostile, 1);
        for (part, (columns, rows)) in bytes.chunks(20).zip(sizes.iter().cycle()) {
            for byte in part {
                menu.input(*byte);
            }
            menu.resize(size(*columns, *rows));
            let output = String::from_utf8(menu.output()).unwrap();
            prop_assert!(has_only_own_sequences(&output), "{output:?}");
        }
        menu.end_sequence();
    }

    #[test]
    fn no_line_is_longer_than_the_terminal(columns in 1_u16..120, rows in 1_u16..40, query in "[a-z数据]{0,80}") {
        let mut terminal = TestTerminal::new(columns, rows, Language::Chinese, entries());
        terminal.type_in(&query);
        let screen = terminal.emulator.screen();
        prop_assert!((0..rows).all(|row| !screen.row_wrapped(row)));
        prop_assert!(screen.cursor_position().1 < columns);
    }
}
