use proptest::prelude::*;

use super::state::{MAX_KEPT, MAX_PATH, MAX_PENDING, packet};
use super::*;

/// Bytes that one side sends.
#[derive(Clone, Debug)]
enum Sent {
    Client(Vec<u8>),
    Target(Vec<u8>),
}
use Sent::{Client, Target};

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 1).unwrap();
    [&length.to_be_bytes()[..], &[kind], body].concat()
}

fn number(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn string(text: &str) -> Vec<u8> {
    [number(u32::try_from(text.len()).unwrap()), text.as_bytes().to_vec()].concat()
}

fn client(kind: u8, parts: &[Vec<u8>]) -> Sent {
    Client(packet(kind, &parts.concat()))
}

fn target(kind: u8, parts: &[Vec<u8>]) -> Sent {
    Target(packet(kind, &parts.concat()))
}

fn status(id: u32, code: u32) -> Sent {
    target(packet::STATUS, &[number(id), number(code), string("message"), string("en")])
}

/// Parses a conversation in pieces of this size, and returns the operations.
fn parse(conversation: &[Sent], size: usize) -> Vec<Operation> {
    let (mut parser, mut operations) = (SftpParser::default(), Vec::new());
    for sent in conversation {
        match sent {
            Client(bytes) => bytes.chunks(size).for_each(|piece| parser.request(piece, &mut operations)),
            Target(bytes) => bytes.chunks(size).for_each(|piece| parser.reply(piece, &mut operations)),
        }
    }
    parser.finish(&mut operations);
    operations
}

fn transfer() -> Vec<Sent> {
    let write = [number(2), string("h"), vec![0; 8], number(40_000), vec![7; 40_000]];
    let rename = [number(4), string("posix-rename@openssh.com"), string("/a"), string("/b")];
    vec![
        client(packet::INIT, &[number(3)]),
        target(packet::VERSION, &[number(3), string("posix-rename@openssh.com"), string("1")]),
        client(packet::OPEN, &[number(1), string("/a"), number(0x1a), number(0)]),
        target(packet::HANDLE, &[number(1), string("h")]),
        client(packet::WRITE, &write),
        client(packet::READ, &[number(3), string("h"), vec![0; 8], number(32_768)]),
        status(2, 0),
        target(packet::DATA, &[number(3), number(9), vec![1; 9]]),
        client(packet::CLOSE, &[number(5), string("h")]),
        status(5, 0),
        client(packet::EXTENDED, &rename),
        status(4, 0),
        client(packet::REMOVE, &[number(6), string("/etc/passwd")]),
        status(6, 3),
        client(packet::MKDIR, &[number(7), string("/new"), number(0)]),
        status(7, 0),
        client(packet::OPEN, &[number(8), string("/none"), number(1), number(0)]),
        status(8, 2),
        client(packet::OPEN, &[number(9), string("/left"), number(1), number(0)]),
        target(packet::HANDLE, &[number(9), string("i")]),
        client(packet::SETSTAT, &[number(10), string("/silent"), number(0)]),
    ]
}

fn expected_operations() -> Vec<Operation> {
    let operation = Operation::new;
    vec![
        operation("open", "/a", None, "ok"),
        Operation { read: 9, written: 40_000, ..operation("close", "/a", None, "ok") },
        operation("rename", "/a", Some("/b".into()), "ok"),
        operation("remove", "/etc/passwd", None, "permission_denied"),
        operation("mkdir", "/new", None, "ok"),
        operation("open", "/none", None, "no_such_file"),
        operation("open", "/left", None, "ok"),
        operation("close", "/left", None, "not_closed"),
        operation("setstat", "/silent", None, "unanswered"),
    ]
}

#[test]
fn operations_are_parsed() {
    assert_eq!(parse(&transfer(), usize::MAX), expected_operations());
}

#[test]
fn a_stream_that_is_not_sftp_is_reported_once() {
    let desynced = [Operation::new("lost", "", None, "not_followed")];
    assert_eq!(parse(&[Client(b"\0\0\0\x05hello".to_vec()), Client(vec![0; 100]), Target(vec![0; 100])], 3), desynced);
    let shell_text =
        [client(packet::INIT, &[number(3)]), Target(b"This account is currently not available.\n".to_vec())];
    // The first four bytes are the length of a packet that never ends.
    assert_eq!(parse(&shell_text, 7), []);
}

#[test]
fn too_many_pending_requests_stop_the_parser() {
    let remove = |id| client(packet::REMOVE, &[number(id), string("/x")]);
    let mut flood = vec![client(packet::INIT, &[number(3)])];
    flood.extend((0..=u32::try_from(MAX_PENDING).unwrap()).map(remove));
    let operations = parse(&flood, usize::MAX);
    assert_eq!(operations.iter().filter(|it| it.name == "lost").count(), 1);
    assert_eq!(operations.len(), MAX_PENDING + 2, "pending changes are reported");
}

/// A user can stop the target's sftp-server, and then send requests on many channels.
#[test]
fn too_long_pending_requests_stop_the_parser() {
    let path = "x".repeat(MAX_PATH);
    let most = u32::try_from(MAX_KEPT / MAX_PATH).unwrap();
    let removes = |count| (0..count).map(|id| client(packet::REMOVE, &[number(id), string(&path)]));
    let answered = (0..2 * most).flat_map(|id| [client(packet::REMOVE, &[number(id), string(&path)]), status(id, 0)]);
    let init = || [client(packet::INIT, &[number(3)])];
    let lost = |sent: Vec<Sent>| parse(&sent, usize::MAX).iter().filter(|it| it.name == "lost").count();
    assert_eq!(lost(init().into_iter().chain(removes(most)).collect()), 0);
    assert_eq!(lost(init().into_iter().chain(removes(most + 1)).collect()), 1);
    assert_eq!(lost(init().into_iter().chain(answered).collect()), 0, "an answer makes room");
}

#[test]
fn a_long_path_is_cut() {
    let long = "x".repeat(20_000);
    let rename = client(packet::RENAME, &[number(1), string(&long), string("/b")]);
    // The second path is not in the kept part of the packet.
    let operations = parse(&[client(packet::INIT, &[number(3)]), rename], usize::MAX);
    assert_eq!(operations.last().unwrap().name, "lost");
    let remove = client(packet::REMOVE, &[number(1), string(&long)]);
    let operations = parse(&[client(packet::INIT, &[number(3)]), remove, status(1, 0)], usize::MAX);
    assert_eq!(operations, [Operation::new("remove", &long[..MAX_PATH], None, "ok")]);
}

proptest! {
    #[test]
    fn operations_do_not_depend_on_how_the_streams_are_split(size in 1..2_000_usize) {
        prop_assert_eq!(parse(&transfer(), size), expected_operations());
    }

    /// The parser accepts any bytes, and reports at most once that it lost track.
    #[test]
    fn any_bytes_are_accepted(
        garbage in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 0..20),
        after in 0..22_usize,
        size in 1..50_usize,
    ) {
        let mut conversation: Vec<Sent> = transfer().into_iter().take(after).collect();
        conversation.extend(garbage.into_iter().map(|(up, bytes)| if up { Client(bytes) } else { Target(bytes) }));
        let operations = parse(&conversation, size);
        prop_assert!(operations.iter().filter(|it| it.name == "lost").count() <= 1);
    }
}
