//! What a server sends, looked at before the library sees it.
//!
//! ldap3 takes as much memory as a message claims to have, and descends into nested values by recursion, as deep as they go: a server could
//! end the process, and with it what belongs to others (SPEC Y8). So every message passes here first, through a pair of sockets, whole and
//! with its bounds checked (RFC 4511 5.1: BER in the definite form).

use std::io::{Error, ErrorKind, Result};

use ldap3::asn1::{StructureTag, parse_tag};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, split};
use tokio::net::UnixStream;

use super::raw::{constructed, primitive};

/// Longer than the entry of a group with half a million members.
const LONGEST_MESSAGE: usize = 64 << 20;
/// A value of an entry is in five, one of a control in four.
const DEEPEST: usize = 12;
/// How much is read at once.
const CHUNK: usize = 64 << 10;
/// StartTLS (RFC 4511 4.14.1): an extended request with its name, the first message of a connection.
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// A connection to a server, in clear text or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Carries messages between the server and the library until one of them ends, or the server breaks the rules.
pub(super) async fn carry(server: Box<dyn Stream>, library: UnixStream) -> Result<()> {
    let (mut from_server, mut to_server) = split(server);
    let (mut from_library, mut to_library) = library.into_split();
    let requests = async {
        copy(&mut from_library, &mut to_server).await?;
        to_server.shutdown().await
    };
    let answers = async {
        let mut buffer = Vec::with_capacity(CHUNK);
        while read_more(&mut from_server, &mut buffer).await? {
            let whole = whole_messages(&buffer)?;
            to_library.write_all(buffer.get(..whole).unwrap_or_default()).await?;
            buffer.drain(..whole);
        }
        Ok(())
    };
    tokio::select! {
        done = requests => done,
        done = answers => done,
    }
}

/// Asks for TLS: Ok is the server's result, and its words.
pub(super) async fn start_tls(server: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(u32, String)> {
    server.write_all(START_TLS).await?;
    let mut buffer = Vec::new();
    while read_more(server, &mut buffer).await? {
        match whole_messages(&buffer)? {
            0 => {}
            // What came behind the answer came in clear text and would be taken for the server's own.
            whole if whole == buffer.len() => return extended_result(&buffer).ok_or_else(no_ldap),
            _ => return Err(no_ldap()),
        }
    }
    Err(ErrorKind::UnexpectedEof.into())
}

/// False: it has ended.
async fn read_more(server: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<bool> {
    buffer.reserve(CHUNK);
    Ok(server.read_buf(buffer).await? > 0)
}

fn extended_result(message: &[u8]) -> Option<(u32, String)> {
    let (_, message) = parse_tag(message).ok()?;
    let response: StructureTag = constructed(message)?.into_iter().nth(1).filter(|operation| operation.id == 24)?;
    let mut parts = constructed(response)?.into_iter().map(primitive);
    let code = parts.next()??.into_iter().fold(0, |code, byte| (code << 8) | u32::from(byte));
    let text = parts.nth(1)??;
    Some((code, String::from_utf8_lossy(&text).into_owned()))
}

/// How many bytes at the beginning are whole messages. An error: what comes is none.
fn whole_messages(bytes: &[u8]) -> Result<usize> {
    let mut whole = 0;
    while let Some((header, length)) = header(bytes.get(whole..).unwrap_or_default())? {
        let end = whole + header.size + length;
        if length > LONGEST_MESSAGE || !header.constructed {
            return Err(no_ldap());
        }
        let Some(message) = bytes.get(whole..end) else { break };
        check(message)?;
        whole = end;
    }
    Ok(whole)
}

/// Whether what is in a message ends where it says, and is not too deep.
fn check(message: &[u8]) -> Result<()> {
    // Where each value that we are in ends.
    let mut ends = Vec::with_capacity(DEEPEST);
    let mut place = 0;
    while place < message.len() {
        while ends.last() == Some(&place) {
            ends.pop();
        }
        let rest = message.get(place..ends.last().copied().unwrap_or(message.len())).unwrap_or_default();
        let (header, length) = header(rest)?.ok_or_else(no_ldap)?;
        if rest.len() - header.size < length {
            return Err(no_ldap());
        }
        place += header.size;
        if header.constructed && length > 0 {
            if ends.len() == DEEPEST {
                return Err(no_ldap());
            }
            ends.push(place + length);
        } else {
            place += length;
        }
    }
    Ok(())
}

/// The first bytes of a value.
struct Header {
    size: usize,
    constructed: bool,
}

/// None: there are too few bytes to see it. What LDAP does not use is an error: long tags, lengths that are indefinite or beyond four bytes.
fn header(bytes: &[u8]) -> Result<Option<(Header, usize)>> {
    let [tag, first, rest @ ..] = bytes else { return Ok(None) };
    if tag & 0x1f == 0x1f {
        return Err(no_ldap());
    }
    let constructed = tag & 0x20 != 0;
    let more = match first {
        ..=0x7f => return Ok(Some((Header { size: 2, constructed }, usize::from(*first)))),
        0x81..=0x84 => usize::from(first & 0x7f),
        _ => return Err(no_ldap()),
    };
    let Some(digits) = rest.get(..more) else { return Ok(None) };
    let length = digits.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte));
    Ok(Some((Header { size: 2 + more, constructed }, length)))
}

fn no_ldap() -> Error {
    Error::new(ErrorKind::InvalidData, "the server sent what is no LDAP")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A constructed value in a constructed value, so many times.
    fn nested(depth: usize) -> Vec<u8> {
        (0..depth).fold(Vec::new(), |inner, _| {
            let length = u32::try_from(inner.len()).unwrap().to_be_bytes();
            [&[0x30, 0x84][..], &length, &inner].concat()
        })
    }

    #[test]
    fn y8_whole_messages_pass_and_a_part_of_one_waits() {
        let message = [0x30, 5, 2, 1, 1, 0x42, 0];
        let two = message.repeat(2);
        for length in 0..=two.len() {
            assert_eq!(whole_messages(&two[..length]).unwrap(), length / 7 * 7, "{length}");
        }
        let long = [&[0x30, 0x82, 0x01, 0x04, 4, 0x82, 0x01, 0x00][..], &[0; 256]].concat();
        assert_eq!(whole_messages(&long).unwrap(), long.len());
        assert_eq!(whole_messages(&long[..100]).unwrap(), 0);
        assert!(check(START_TLS).is_ok());
    }

    #[test]
    fn y8_what_would_take_all_memory_or_all_stack_does_not_pass() {
        assert!(whole_messages(&nested(DEEPEST)).is_ok());
        assert!(whole_messages(&nested(DEEPEST + 2)).is_err());
        assert!(whole_messages(&nested(5_000)).is_err());
        for bytes in [
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..],
            &[0x30, 0x85, 0, 0, 0, 0, 1],
            &[0x30, 0x80, 0, 0],
            &[0x3f, 0x81, 1, 0],
            b"HTTP/1.1 400",
            // Inside longer than outside.
            &[0x30, 3, 4, 2, 0],
            &[0x30, 5, 0x30, 3, 4, 2, 0],
            &[0x30, 1, 4],
        ] {
            assert!(whole_messages(bytes).is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn y9_an_answer_to_starttls_is_read() {
        let refused = b"\x30\x10\x02\x01\x01\x78\x0b\x0a\x01\x02\x04\x00\x04\x04nope";
        assert_eq!(extended_result(refused), Some((2, "nope".to_owned())));
        assert_eq!(extended_result(&[0x30, 0]), None);
    }

    proptest::proptest! {
        #[test]
        fn y8_no_bytes_make_the_check_panic(bytes: Vec<u8>) {
            let _ = whole_messages(&bytes);
            let _ = check(&bytes);
        }
    }
}
