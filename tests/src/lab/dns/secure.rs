//! What the lab's DNS server speaks beneath TLS: TLS itself (RFC 7858) and QUIC (RFC 9250) at port 853, HTTPS (RFC 8484) at
//! port 443. The certificate is made at the start and vouched for by nobody.

use std::io::Cursor;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use http::{Method, Request, Response, header};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::server::{Server, accept, framed, serve_stream};
use super::zone::Trick;

/// Port of TLS and QUIC.
const SECURE_PORT: u16 = 853;
/// Port of HTTPS.
const HTTPS_PORT: u16 = 443;
/// The only path that there is.
const PATH: &str = "/dns-query";
/// What a DNS message is called in HTTP.
const MEDIA_TYPE: &str = "application/dns-message";
/// The longest query that is read.
const LONGEST_QUERY: usize = 4096;

/// Listens at one address, and serves in the background.
pub(super) async fn listen(server: &Arc<Server>, ip: IpAddr) -> anyhow::Result<()> {
    let address = SocketAddr::new(ip, SECURE_PORT);
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}, TCP"))?;
    let (tls, serving) = (TlsAcceptor::from(config(&[b"dot"])?), Arc::clone(server));
    tokio::spawn(accept(listener, move |stream, client| {
        let (tls, server) = (tls.clone(), Arc::clone(&serving));
        async move { serve_stream(&server, tls.accept(stream).await?, address, client, "tls").await }
    }));

    let quic = QuicServerConfig::try_from(config(&[b"doq"])?).context("QUIC's TLS")?;
    let quic = quinn::ServerConfig::with_crypto(Arc::new(quic));
    let endpoint = quinn::Endpoint::server(quic, address).with_context(|| format!("listen on {address}, QUIC"))?;
    tokio::spawn(serve_quic(Arc::clone(server), endpoint, address));

    let address = SocketAddr::new(ip, HTTPS_PORT);
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}, TCP"))?;
    let (tls, serving) = (TlsAcceptor::from(config(&[b"h2"])?), Arc::clone(server));
    tokio::spawn(accept(listener, move |stream, client| {
        let (tls, server) = (tls.clone(), Arc::clone(&serving));
        async move { serve_https(server, tls, stream, address, client).await }
    }));
    Ok(())
}

/// TLS with a key of its own.
fn config(alpn: &[&[u8]]) -> anyhow::Result<Arc<ServerConfig>> {
    let made = rcgen::generate_simple_self_signed(["ns.lab.example".to_owned()]).context("make a certificate")?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

async fn serve_quic(server: Arc<Server>, endpoint: quinn::Endpoint, address: SocketAddr) {
    while let Some(incoming) = endpoint.accept().await {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok((send, receive)) = connection.accept_bi().await {
                // One that goes wrong ends with its stream.
                let _ = answer_stream(&server, &connection, send, receive, address).await;
            }
        });
    }
}

async fn answer_stream(
    server: &Server,
    connection: &quinn::Connection,
    mut send: quinn::SendStream,
    mut receive: quinn::RecvStream,
    address: SocketAddr,
) -> anyhow::Result<()> {
    // Ends only when the client has ended its side, as it must.
    let bytes = receive.read_to_end(LONGEST_QUERY).await?;
    let (length, query) = bytes.split_first_chunk().context("a length")?;
    ensure!(usize::from(u16::from_be_bytes(*length)) == query.len(), "the length is not that of the query");
    ensure!(query.starts_with(&[0, 0]), "the id is not 0");
    let plan = server.connected(query, address, connection.remote_address(), "quic").await.context("not a query")?;
    if let Some(framed) = framed(&plan)? {
        send.write_all(&framed).await?;
        send.finish()?;
        send.stopped().await?;
    } else if plan.tricks.contains(&Trick::Close) {
        connection.close(1_u32.into(), b"no answer today");
    } else {
        connection.closed().await;
    }
    Ok(())
}

async fn serve_https(
    server: Arc<Server>,
    tls: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    client: SocketAddr,
) -> anyhow::Result<()> {
    let opening = h2::server::Builder::new().handshake::<_, Body>(tls.accept(stream).await?);
    let mut connection = opening.await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            // One that goes wrong ends with its stream.
            let _ = answer_request(&server, request, respond, address, client).await;
        });
    }
    Ok(())
}

type Body = Cursor<Vec<u8>>;

async fn answer_request(
    server: &Server,
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Body>,
    address: SocketAddr,
    client: SocketAddr,
) -> anyhow::Result<()> {
    let (head, mut stream) = request.into_parts();
    let mut query = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        query.extend_from_slice(&data);
        ensure!(query.len() <= LONGEST_QUERY, "a query too long");
    }
    let is_dns = |name| head.headers.get(name).is_some_and(|value| value == MEDIA_TYPE);
    let refusal = match () {
        () if head.uri.path() != PATH => Some(404),
        () if head.method != Method::POST => Some(405),
        () if !is_dns(header::CONTENT_TYPE) || !is_dns(header::ACCEPT) => Some(415),
        () => None,
    };
    if let Some(status) = refusal {
        let response = Response::builder().status(status).body(())?;
        respond.send_response(response, true)?;
        return Ok(());
    }
    let Some(plan) = server.connected(&query, address, client, "https").await else {
        respond.send_response(Response::builder().status(400).body(())?, true)?;
        return Ok(());
    };
    if plan.tricks.contains(&Trick::Close) {
        respond.send_reset(h2::Reason::INTERNAL_ERROR);
        return Ok(());
    }
    let Some(answer) = &plan.answer else {
        // Until the client gives up.
        std::future::poll_fn(|context| respond.poll_reset(context)).await?;
        return Ok(());
    };
    let (mut status, mut media) = (200, MEDIA_TYPE);
    for trick in &plan.tricks {
        match trick {
            Trick::Http(other) => status = *other,
            Trick::Media(other) => media = other,
            _ => {}
        }
    }
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, media).body(())?;
    let mut body = respond.send_response(response, false)?;
    if plan.tricks.contains(&Trick::Half) {
        let half = answer.get(..answer.len() / 2).unwrap_or(answer);
        body.send_data(Cursor::new(half.to_vec()), false)?;
        // Behind the data, which a reset at once would overtake.
        body.reserve_capacity(1);
        std::future::poll_fn(|context| body.poll_capacity(context)).await;
        body.send_reset(h2::Reason::INTERNAL_ERROR);
        return Ok(());
    }
    Ok(body.send_data(Cursor::new(answer.clone()), true)?)
}
