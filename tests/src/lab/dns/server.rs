//! The `lab-dns` process: `lab-dns ZONE LOG ADDRESS:PORT...`. It ends when its standard input closes.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::DnsLogEntry;
use super::message::Query;
use super::zone::{Answer, Behaviour, Zone, rcode};

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

struct Server {
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
struct Plan {
    answer: Option<Vec<u8>>,
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
        let Behaviour { silent, delay, truncate, .. } = state.zone.behaviour(&query.name);
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
        Ok(Plan { answer: (!silent).then_some(bytes), delay, query })
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
                Some(Plan { answer: Some(answer), delay: Duration::ZERO, query })
            }
        }
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
                let _ = socket.send_to(answer, client).await;
            }
        });
    }
}

async fn serve_tcp(server: Arc<Server>, listener: TcpListener, address: SocketAddr) {
    let slots = Arc::new(tokio::sync::Semaphore::new(TCP_LIMIT));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, client)) = listener.accept().await else { continue };
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            // The client goes away, or is silent for too long: both end the connection and nothing else.
            let _ = serve_connection(&server, stream, address, client).await;
            drop(slot);
        });
    }
}

async fn serve_connection(
    server: &Server,
    mut stream: TcpStream,
    address: SocketAddr,
    client: SocketAddr,
) -> anyhow::Result<()> {
    loop {
        let length = tokio::time::timeout(TCP_PATIENCE, stream.read_u16()).await??;
        let mut bytes = vec![0; usize::from(length)];
        tokio::time::timeout(TCP_PATIENCE, stream.read_exact(&mut bytes)).await??;
        let plan = server.plan_or_fail(&bytes, false).context("not a query")?;
        tokio::time::sleep(plan.delay).await;
        server.log(&plan, &bytes, address, client, "tcp");
        if let Some(answer) = &plan.answer {
            let mut framed = u16::try_from(answer.len())?.to_be_bytes().to_vec();
            framed.extend(answer);
            stream.write_all(&framed).await?;
        }
    }
}
