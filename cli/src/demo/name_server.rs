//! A name server for the demo: answers every question with one TXT record, so that dns has something to ask on a machine
//! without a network. UDP alone, on free ports of the loopback interface.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const HEADER: usize = 12;

/// The answer: a pointer to the question's name, TXT, IN, one minute, one string.
const TEXT: &[u8] = b"hello from the demo";

/// The running name server; dropping it ends it.
pub struct NameServer {
    /// Its IPv4 address.
    pub v4: SocketAddr,
    /// Its IPv6 address.
    pub v6: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl NameServer {
    /// Listens in both families.
    pub async fn start() -> Result<Self> {
        let v4 = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let v6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await?;
        let addresses = (v4.local_addr()?, v6.local_addr()?);
        Ok(Self { v4: addresses.0, v6: addresses.1, tasks: [tokio::spawn(serve(v4)), tokio::spawn(serve(v6))] })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve(socket: UdpSocket) {
    let mut buffer = [0; 1500];
    loop {
        // An error is an ICMP error about an answer that nobody waited for any more.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        if let Some(answer) = buffer.get(..length).and_then(answer) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// The answer to a query (RFC 1035, section 4), if it is one.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let header = query.get(..HEADER)?;
    // A query, with exactly one question.
    if header.get(2)? & 0x80 != 0 || header.get(4..6)? != [0, 1] {
        return None;
    }
    let mut end = HEADER;
    loop {
        let label = usize::from(*query.get(end)?);
        if label > 63 {
            return None;
        }
        end += 1 + label;
        if label == 0 {
            break;
        }
    }
    let question = query.get(HEADER..end + 4)?;
    let recursion_desired = header.get(2)? & 0x01;
    let mut message = header.get(..2)?.to_vec();
    // Response, authoritative; one question, one answer.
    message.extend([0x84 | recursion_desired, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    message.extend(question);
    message.extend([0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 60]);
    let length = u8::try_from(TEXT.len()).ok()?;
    message.extend([0, length + 1, length]);
    message.extend(TEXT);
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_and_garbage_is_not() {
        let query = [&[1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01a\x00", &[0, 16, 0, 1]].concat();
        let reply = answer(&query).unwrap();
        assert_eq!(reply.get(..4), Some(&[1, 2, 0x85, 0][..]));
        assert!(reply.ends_with(TEXT));
        for cut in 0..query.len() {
            assert_eq!(answer(&query[..cut]), None, "cut at {cut}");
        }
        assert_eq!(answer(&reply), None, "an answer is no question");
    }
}
