//! A server that answers by script, byte for byte: for what no real one can be made to say.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Serves one connection: each request is answered with the next of these, after the last with nothing. Gives the port, and in the end all
/// that was sent to it.
pub async fn scripted(answers: Vec<Vec<u8>>) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut all, mut buffer, mut answers) = (Vec::new(), [0; 4096], answers.into_iter());
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..read]);
            if let Some(answer) = answers.next() {
                let _gone = stream.write_all(&answer).await;
            }
        }
        all
    });
    (port, served)
}

/// A tag, the length and the content (X.690), of less than 64 kB.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82, high, low][..], content].concat()
}

/// Result codes in their messages: the operation's tag, the message's number.
pub fn result(operation: u8, number: u8, code: u8) -> Vec<u8> {
    message(number, &tlv(operation, &[&tlv(10, &[code])[..], &tlv(4, b""), &tlv(4, b"")].concat()), &[])
}

pub fn bind_success() -> Vec<u8> {
    result(0x61, 1, 0)
}

pub fn search_done(number: u8, code: u8) -> Vec<u8> {
    result(0x65, number, code)
}

/// A search result entry.
pub fn entry(number: u8, dn: &str, attributes: &[(&str, &[&str])]) -> Vec<u8> {
    let attribute = |(name, values): &(&str, &[&str])| {
        let values: Vec<u8> = values.iter().flat_map(|value| tlv(4, value.as_bytes())).collect();
        tlv(0x30, &[tlv(4, name.as_bytes()), tlv(0x31, &values)].concat())
    };
    let attributes: Vec<u8> = attributes.iter().flat_map(attribute).collect();
    message(number, &tlv(0x64, &[tlv(4, dn.as_bytes()), tlv(0x30, &attributes)].concat()), &[])
}

/// An operation in its envelope, with controls or none.
pub fn message(number: u8, operation: &[u8], controls: &[u8]) -> Vec<u8> {
    let controls = if controls.is_empty() { Vec::new() } else { tlv(0xa0, controls) };
    tlv(0x30, &[&tlv(2, &[number])[..], operation, &controls].concat())
}
