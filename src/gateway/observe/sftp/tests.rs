use proptest::prelude::*;

use super::*;

/// What one side says.
#[derive(Clone, Debug)]
enum Said {
    Client(Vec<u8>),
    Target(Vec<u8>),
}
use Said::{Client, Target};

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

fn client(kind: u8, parts: &[Vec<u8>]) -> Said {
    Client(packet(kind, &parts.concat()))
}

fn target(kind: u8, parts: &[Vec<u8>]) -> Said {
    Target(packet(kind, &parts.concat()))
}

fn status(id: u32, code: u32) -> Said {
    target(packet::STATUS, &[number(id), number(code), string("as it is"), string("en")])
}

/// Feeds a conversation in pieces of this size, and returns what was told.
fn follow(conversation: &[Said], size: usize) -> Vec<Operation> {
    let (mut follower, mut told) = (Follower::default(), Vec::new());
    for said in conversation {
        match said {
            Client(bytes) => bytes.chunks(size).for_each(|piece| follower.request(piece, &mut told)),
            Target(bytes) => bytes.chunks(size).for_each(|piece| follower.reply(piece, &mut told)),
        }
    }
    follower.finish(&mut told);
    told
}

fn transfer() -> Vec<Said> {
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

fn told() -> Vec<Operation> {
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
fn a_conversation_is_told() {
    assert_eq!(follow(&transfer(), usize::MAX), told());
}

#[test]
fn what_is_no_sftp_is_said_to_be_so_once() {
    let lost = [Operation::new("lost", "", None, "not_followed")];
    assert_eq!(follow(&[Client(b"\0\0\0\x05hello".to_vec()), Client(vec![0; 100]), Target(vec![0; 100])], 3), lost);
    let says_nothing =
        [client(packet::INIT, &[number(3)]), Target(b"This account is currently not available.\n".to_vec())];
    // Its first four bytes are the length of a packet that never ends.
    assert_eq!(follow(&says_nothing, 7), []);
}

#[test]
fn a_flood_is_not_followed_without_end() {
    let remove = |id| client(packet::REMOVE, &[number(id), string("/x")]);
    let mut flood = vec![client(packet::INIT, &[number(3)])];
    flood.extend((0..=u32::try_from(MAX_ASKED).unwrap()).map(remove));
    let told = follow(&flood, usize::MAX);
    assert_eq!(told.iter().filter(|it| it.name == "lost").count(), 1);
    assert_eq!(told.len(), MAX_ASKED + 2, "what was asked is told, too");
}

#[test]
fn a_path_of_any_length_is_told_by_its_beginning() {
    let long = "x".repeat(20_000);
    let rename = client(packet::RENAME, &[number(1), string(&long), string("/b")]);
    // Its second path lies beyond what is kept.
    let told = follow(&[client(packet::INIT, &[number(3)]), rename], usize::MAX);
    assert_eq!(told.last().unwrap().name, "lost");
    let remove = client(packet::REMOVE, &[number(1), string(&long)]);
    let told = follow(&[client(packet::INIT, &[number(3)]), remove, status(1, 0)], usize::MAX);
    assert_eq!(told, [Operation::new("remove", &long[..MAX_PATH], None, "ok")]);
}

proptest! {
    #[test]
    fn it_tells_the_same_wherever_the_streams_are_split(size in 1..2_000_usize) {
        prop_assert_eq!(follow(&transfer(), size), told());
    }

    /// Whatever comes, it takes it, and says at most once that it cannot follow.
    #[test]
    fn it_takes_anything(
        garbage in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 0..20),
        after in 0..22_usize,
        size in 1..50_usize,
    ) {
        let mut conversation: Vec<Said> = transfer().into_iter().take(after).collect();
        conversation.extend(garbage.into_iter().map(|(up, bytes)| if up { Client(bytes) } else { Target(bytes) }));
        let told = follow(&conversation, size);
        prop_assert!(told.iter().filter(|it| it.name == "lost").count() <= 1);
    }
}
