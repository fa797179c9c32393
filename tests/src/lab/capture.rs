//! A record of every frame that one machine of the lab sent and received, with the kernel's time stamps.

use std::collections::HashMap;
use std::io::{IoSliceMut, Read as _};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use super::namespace::Namespace;
use super::packet::PacketSummary;
use super::sys;

/// The most that waits in the kernel for one of these sockets, in bytes.
const RECEIVE_BUFFER: usize = 64 << 20;
/// The most that a capture keeps, in bytes; more is an error at its end.
const CAPTURE_LIMIT: usize = 512 << 20;

/// One frame that a machine sent or received.
#[derive(Debug, Clone)]
pub struct CapturedPacket {
    /// The kernel's time stamp, nanoseconds since 1970 (CLOCK_REALTIME).
    pub at: i64,
    /// The interface's name.
    pub interface: String,
    /// Whether the machine sent it. On `lo` each packet is there twice, once as sent and once as received.
    pub outgoing: bool,
    /// The whole frame from its Ethernet header on (zeros on `lo`).
    pub bytes: Vec<u8>,
    /// What it is about.
    pub summary: PacketSummary,
}

impl CapturedPacket {
    /// Whether it left the machine: outgoing and not on `lo`.
    pub fn left(&self) -> bool {
        self.outgoing && self.interface != "lo"
    }

    /// Whether it left towards this address.
    pub fn left_to(&self, dst: IpAddr) -> bool {
        self.left() && self.summary.dst() == Some(dst)
    }
}

/// A capture in progress. Dropping it throws away what it has.
#[derive(Debug)]
pub struct Capture {
    /// Closing this end ends the thread.
    stop: UnixStream,
    thread: JoinHandle<anyhow::Result<Vec<CapturedPacket>>>,
}

impl Capture {
    /// Begins; every frame from now on is in it.
    pub(super) fn start(namespace: &Namespace) -> anyhow::Result<Self> {
        let socket = namespace.run(packet_socket).context("open a packet socket")?;
        let (stop, stopped) = UnixStream::pair().context("make the stop signal")?;
        let inside = namespace.clone();
        let thread = thread::Builder::new()
            .name("capture".into())
            .spawn(move || inside.run(|| record(&socket, &stopped)))
            .context("start the capture thread")?;
        Ok(Self { stop, thread })
    }

    /// Ends; every frame stamped before the call is in the answer, in the order in which the kernel saw them. Fails if
    /// frames were missed.
    pub fn stop(self) -> anyhow::Result<Vec<CapturedPacket>> {
        drop(self.stop);
        match self.thread.join() {
            Ok(result) => result,
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }
}

/// An AF_PACKET socket on all interfaces of the current namespace, with time stamps and a large buffer.
pub(super) fn packet_socket() -> anyhow::Result<Socket> {
    let every_protocol = i32::from((libc::ETH_P_ALL as u16).to_be());
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(every_protocol)))?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    Ok(socket)
}

/// A frame as it came from a packet socket.
pub(super) struct Received {
    pub(super) length: usize,
    pub(super) interface_index: u32,
    pub(super) outgoing: bool,
    /// The kernel's stamp, CLOCK_REALTIME.
    pub(super) at: Option<i64>,
}

/// Takes the next frame into `buffer`; `None` if there is none.
pub(super) fn receive(socket: &Socket, buffer: &mut [u8], control: &mut [u8]) -> anyhow::Result<Option<Received>> {
    let mut slices = [IoSliceMut::new(buffer)];
    let message = match recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut slices, Some(control), MsgFlags::empty()) {
        Ok(message) => message,
        // An interface that goes down says so once.
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => return Ok(None),
        Err(error) => return Err(error).context("receive from a packet socket"),
    };
    let at = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(nanoseconds(stamp)),
        _ => None,
    });
    let address = message.address.context("a frame without an interface")?;
    Ok(Some(Received {
        length: message.bytes,
        interface_index: u32::try_from(address.ifindex()).context("an interface's number")?,
        outgoing: address.pkttype() == libc::PACKET_OUTGOING,
        at,
    }))
}

/// As one number.
pub(super) fn nanoseconds(time: TimeSpec) -> i64 {
    time.tv_sec() * 1_000_000_000 + time.tv_nsec()
}

/// Room for the control message that carries the time stamp.
pub(super) fn control_space() -> Vec<u8> {
    nix::cmsg_space!(TimeSpec)
}

fn record(socket: &Socket, stopped: &UnixStream) -> anyhow::Result<Vec<CapturedPacket>> {
    let mut packets = Vec::new();
    let mut names: HashMap<u32, String> = HashMap::new();
    let mut buffer = vec![0; 1 << 16];
    let mut control = control_space();
    let mut size = 0;
    loop {
        let mut ready =
            [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for frames"),
        }
        // Looked at before the frames: those stamped before the stop are then in the queue already.
        let ending = ready[1].any() == Some(true) && is_closed(stopped);
        while let Some(frame) = receive(socket, &mut buffer, &mut control)? {
            let bytes = buffer.get(..frame.length).unwrap_or(&buffer).to_vec();
            let Some(summary) = PacketSummary::of_frame(&bytes) else { continue };
            let interface = names
                .entry(frame.interface_index)
                .or_insert_with(|| {
                    nix::net::if_::if_indextoname(frame.interface_index).map_or_else(
                        |_| format!("#{}", frame.interface_index),
                        |name| name.to_string_lossy().into_owned(),
                    )
                })
                .clone();
            size += bytes.len();
            if size > CAPTURE_LIMIT {
                bail!("the capture holds more than {CAPTURE_LIMIT} bytes");
            }
            let at = frame.at.context("a frame without a time stamp")?;
            packets.push(CapturedPacket { at, interface, outgoing: frame.outgoing, bytes, summary });
        }
        if ending {
            let missed = sys::packet_drops(socket.as_fd()).context("ask for missed frames")?;
            if missed > 0 {
                bail!("the capture missed {missed} frames");
            }
            return Ok(packets);
        }
    }
}

fn is_closed(mut stream: &UnixStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}
