//! The `lab-dns` process: `lab-dns ZONE LOG ADDRESS:PORT...`. It ends when its standard input closes.
//!
//! At the port it speaks UDP and TCP, at port 853 of the same address TLS and QUIC, at 443 HTTPS (`secure`). What
//! it answers is the same over all of them, but that an answer over UDP may be cut.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::message::Query;
use super::zone::{Answer, Behaviour, Trick, Zone, rcode};
use super::{DnsLogEntry, secure};

/// What the process says when it listens.
pub(super) const READY: &str = "ready\n";

/// How long a TCP connection may stay silent.
const TCP_PATIENCE: Duration = Duration::from_secs(10);
/// Connections at once.
const TCP_LIMIT: usize = 256;

/// Runs the server. `arguments` are those of the command line, without the program's name.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [zone, log, addresses @ ..] = arguments else { anyhow::bail!("usage: lab-dns ZONE LOG ADDRESS:PORT...") };
    ensure!(!addresses.is_empty(), "at least one address to listen on");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let log = File::options().append(true).create(true).open(log).context("open the log")?;
        let server = Arc::new(Server { path: zone.into(), state: Mutex::new(State::default()), log: Mutex::new(log) });
        for address in addresses {
            let address: SocketAddr = address.parse().with_context(|| address.clone())?;
            let udp = UdpSocket::bind(address).await.with_context(|| format!("listen on {address}, UDP"))?;
            let tcp = TcpListener::bind(address).await.with_context(|| format!("listen on {address}, TCP"))?;
            tokio::spawn(serve_udp(Arc::clone(&server), Arc::new(udp), address));
            tokio::spawn(serve_tcp(Arc::clone(&server), tcp, address));
            secure::listen(&server, address.ip()).await?;
        }
        std::io::stdout().write_all(READY.as_bytes()).context("say ready")?;
        // A thread of its own, since tokio has no standard input here.
        let (gone, wait) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = gone.send(());
        });
        let _ = wait.await;
        Ok(())
    })
}

pub(super) struct Server {
    path: PathBuf,
    state: Mutex<State>,
    log: Mutex<File>,
}

#[derive(Default)]
struct State {
    /// The file's text when it was last read, to see that it has changed.
    text: String,
    zone: Zone,
}

/// What to do about one query.
pub(super) struct Plan {
    pub(super) answer: Option<Vec<u8>>,
    pub(super) tricks: Vec<Trick>,
    delay: Duration,
    query: Query,
}

impl Server {
    /// `limit_applies` is for UDP.
    fn plan(&self, bytes: &[u8], limit_applies: bool) -> anyhow::Result<Plan> {
        let query = Query::parse(bytes).context("not a query")?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Reading some kilobytes for each query is cheap, and no change is ever missed.
        match std::fs::read_to_string(&self.path) {
            Ok(text) if text == state.text => {}
            Ok(text) => {
                state.zone = Zone::parse(&text).with_context(|| format!("read {}", self.path.display()))?;
                state.text = text;
            }
            Err(error) => return Err(error).with_context(|| format!("read {}", self.path.display())),
        }
        let Behaviour { silent, delay, truncate, tricks, .. } = state.zone.behaviour(&query.name);
        let nsid = state.zone.nsid.clone();
        let answer = if !query.is_standard() {
            Answer::not_implemented()
        } else {
            state.zone.answer(&query.name, query.kind, query.class)
        };
        let mut bytes = query.answer(&answer, truncate && limit_applies, nsid.as_deref())?;
        if limit_applies && bytes.len() > query.limit() {
            bytes = query.answer(&answer, true, nsid.as_deref())?;
        }
        if tricks.contains(&Trick::OddId) {
            other_id(&mut bytes);
        }
        if tricks.contains(&Trick::Garbage) {
            // The flags of a response, and counts and names that nothing follows.
            bytes.truncate(2);
            bytes.push(0x84);
            bytes.resize(40, 0xff);
        }
        Ok(Plan { answer: (!silent).then_some(bytes), tricks, delay, query })
    }

    /// `None`: not even an error can be said.
    fn plan_or_fail(&self, bytes: &[u8], limit_applies: bool) -> Option<Plan> {
        match self.plan(bytes, limit_applies) {
            Ok(plan) => Some(plan),
            Err(error) => {
                // The lab checks a zone before it writes it, so this concerns files that a test wrote itself.
                let _ = writeln!(std::io::stderr(), "lab-dns: {error:#}");
                let query = Query::parse(bytes)?;
                let answer = query.answer(&Answer::code(rcode::SERVFAIL), false, None).ok()?;
                Some(Plan { answer: Some(answer), tricks: Vec::new(), delay: Duration::ZERO, query })
            }
        }
    }

    /// What to do about a query that came over a connection, when it is time to do it; `None`: it makes no sense.
    pub(super) async fn connected(
        &self,
        bytes: &[u8],
        address: SocketAddr,
        client: SocketAddr,
        transport: &str,
    ) -> Option<Plan> {
        let plan = self.plan_or_fail(bytes, false)?;
        tokio::time::sleep(plan.delay).await;
        self.log(&plan, bytes, address, client, transport);
        Some(plan)
    }

    fn log(&self, plan: &Plan, bytes: &[u8], server: SocketAddr, client: SocketAddr, transport: &str) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let entry = DnsLogEntry {
            at: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
            server,
            client,
            transport: transport.to_owned(),
            name: plan.query.name.clone(),
            query_type: plan.query.kind,
            query_class: plan.query.class,
            query: bytes.to_vec(),
            answer: plan.answer.clone(),
        };
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let written = serde_json::to_vec(&entry).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            log.write_all(&line)
        });
        if let Err(error) = written {
            let _ = writeln!(std::io::stderr(), "lab-dns: cannot log: {error}");
        }
    }
}

async fn serve_udp(server: Arc<Server>, socket: Arc<UdpSocket>, address: SocketAddr) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        // An error here is an ICMP error that an earlier answer met.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let bytes = buffer.get(..length).unwrap_or(&buffer).to_vec();
        let Some(plan) = server.plan_or_fail(&bytes, true) else { continue };
        let (server, socket) = (Arc::clone(&server), Arc::clone(&socket));
        tokio::spawn(async move {
            tokio::time::sleep(plan.delay).await;
            // Before the answer: whoever has the answer finds it in the log.
            server.log(&plan, &bytes, address, client, "udp");
            if let Some(answer) = &plan.answer {
                // An address that the machine has not got is a mistake of the test, which will miss what it asked for.
                let _ = come_before(&socket, address, client, &bytes, &plan.tricks, answer).await;
                let _ = socket.send_to(answer, client).await;
            }
        });
    }
}

/// Sends what comes before the answer.
async fn come_before(
    socket: &UdpSocket,
    address: SocketAddr,
    client: SocketAddr,
    query: &[u8],
    tricks: &[Trick],
    answer: &[u8],
) -> std::io::Result<()> {
    for trick in tricks {
        match trick {
            Trick::Forge => {
                let mut forged = answer.to_vec();
                other_id(&mut forged);
                socket.send_to(&forged, client).await?;
            }
            Trick::Echo => {
                socket.send_to(query, client).await?;
            }
            Trick::Aside => {
                let other = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).await?;
                other.send_to(answer, client).await?;
            }
            Trick::Elsewhere(other) => {
                let other = UdpSocket::bind(SocketAddr::new(*other, address.port())).await?;
                other.send_to(answer, client).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Changes a message's id.
fn other_id(message: &mut [u8]) {
    message.iter_mut().take(2).for_each(|byte| *byte ^= 0x55);
}

async fn serve_tcp(server: Arc<Server>, listener: TcpListener, address: SocketAddr) {
    accept(listener, move |stream, client| {
        let server = Arc::clone(&server);
        async move { serve_stream(&server, stream, address, client, "tcp").await }
    })
    .await;
}

/// Serves each connection, a bounded number of them at once.
pub(super) async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream, SocketAddr) -> F)
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let slots = Arc::new(tokio::sync::Semaphore::new(TCP_LIMIT));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, client)) = listener.accept().await else { continue };
        // As servers on the internet do; an answer behind TLS's tickets would wait for their acknowledgement else.
        let _ = stream.set_nodelay(true);
        let serving = serve(stream, client);
        tokio::spawn(async move {
            // The client goes away, or is silent for too long: both end the connection and nothing else.
            let _ = serving.await;
            drop(slot);
        });
    }
}

/// Answers queries behind their lengths until the client ends.
pub(super) async fn serve_stream(
    server: &Server,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    client: SocketAddr,
    transport: &str,
) -> anyhow::Result<()> {
    loop {
        let length = tokio::time::timeout(TCP_PATIENCE, stream.read_u16()).await??;
        let mut bytes = vec![0; usize::from(length)];
        tokio::time::timeout(TCP_PATIENCE, stream.read_exact(&mut bytes)).await??;
        let plan = server.connected(&bytes, address, client, transport).await.context("not a query")?;
        let ends = plan.tricks.iter().any(|trick| matches!(trick, Trick::Close | Trick::Half));
        if let Some(framed) = framed(&plan)? {
            stream.write_all(&framed).await?;
            stream.flush().await?;
        }
        if ends {
            return Ok(stream.shutdown().await?);
        }
    }
}

/// The answer behind its length, as much of it as is to be sent.
pub(super) fn framed(plan: &Plan) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(answer) = plan.answer.as_ref().filter(|_| !plan.tricks.contains(&Trick::Close)) else { return Ok(None) };
    let mut framed = u16::try_from(answer.len())?.to_be_bytes().to_vec();
    let sent = if plan.tricks.contains(&Trick::Half) { answer.len() / 2 } else { answer.len() };
    framed.extend(answer.iter().take(sent));
    Ok(Some(framed))
}
