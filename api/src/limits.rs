//! How often one address or one account may ask: buckets that fill again with time.
//!
//! Every request takes from its address's bucket and from its network's before anything else is done. Once `auth` knows
//! the account behind it, by key or by session, it takes from the account's ([`Allowance::account`]), and a `POST` below
//! `measurements/` from a smaller one, too. Trying keys empties the bucket of the address. Attempts to log in have small
//! buckets of their own, one for the address and one for the mail address that is tried ([`Allowance::attempt`]); so have
//! claim codes, by address and account ([`Allowance::guess`]). Whoever finds
//! a bucket empty is told when to come back. What comes from loopback is not counted, except for attempts on a mail
//! address or by an account.
//!
//! A page of the site asks several questions for one visitor: they share a [`Visit`], and only the first of them is counted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::header::FORWARDED;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use ipnet::IpNet;
use sonde_protocol::ids::AccountId;

use crate::clock::Clock;
use crate::error::ApiError;
use crate::secret::digest_of;

/// The most buckets of one kind: about 100 bytes each. More callers than that within a minute are refused together rather
/// than remembered.
const MAX_BUCKETS: usize = 200_000;

/// After how many requests the full buckets, which say nothing, are thrown away.
const SWEEP: u64 = 4096;

/// How many entries of `X-Forwarded-For` or `Forwarded` are looked at, from the right.
const MAX_HOPS: usize = 16;

/// How much a network (/48) may ask, as a multiple of an address.
pub(crate) const NETWORK_FACTOR: u32 = 8;

/// How many mails one address is sent within an hour because somebody asked: a person who mistypes needs two or three.
const MAILS_PER_HOUR: NonZeroU32 = NonZeroU32::new(6).expect("it is not zero");

/// What may be asked in a minute; as much may come at once. 0 is without limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// From an IPv4 address or an IPv6 /64; a /48 has eight times as much.
    pub address_per_minute: u32,
    /// By one account, with any of its keys or sessions.
    pub account_per_minute: u32,
    /// Requests that make measurements or change them by `POST`, by one account.
    pub create_per_minute: u32,
    /// Attempts to log in, sign up or reset a password: from one address, and for one mail address.
    pub login_per_minute: u32,
    /// Are loopback addresses counted, too?
    pub loopback: bool,
    /// The proxies whose word on where a request comes from is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// How many live streams there may be at a time.
    pub streams: u32,
    /// How many of them from an IPv4 address or an IPv6 /64; a /48 may have eight times as many.
    pub streams_per_address: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            address_per_minute: 1200,
            account_per_minute: 1200,
            create_per_minute: 120,
            login_per_minute: 10,
            loopback: false,
            trusted_proxies: Vec::new(),
            streams: 20_000,
            streams_per_address: 64,
        }
    }
}

/// The API's clock, as governor reads it.
#[derive(Clone)]
struct Shared(Arc<dyn Clock>);

impl governor::clock::Clock for Shared {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.steady())
    }
}

type Limiter = RateLimiter<Vec<u8>, DashMapStateStore<Vec<u8>>, Shared, NoOpMiddleware<Nanos>>;

struct Buckets {
    limiter: Limiter,
    clock: Shared,
    asked: AtomicU64,
}

impl Buckets {
    fn per_minute(per_minute: u32, clock: &Shared) -> Option<Self> {
        NonZeroU32::new(per_minute).map(|number| Self::new(Quota::per_minute(number), clock))
    }

    fn new(quota: Quota, clock: &Shared) -> Self {
        let limiter = RateLimiter::new(quota, DashMapStateStore::default(), clock.clone());
        Self { limiter, clock: clock.clone(), asked: AtomicU64::new(0) }
    }

    /// Takes one from a bucket; how long to wait if it is empty.
    fn take(&self, key: Vec<u8>) -> Result<(), Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.limiter.retain_recent();
        }
        // What does not fit shares one bucket.
        let key = if self.limiter.len() < MAX_BUCKETS { key } else { Vec::new() };
        self.limiter.check_key(&key).map_err(|not_yet| not_yet.wait_time_from(self.clock.now()))
    }
}

/// Who asks, as far as it counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The bucket of the address; none for one that is not counted.
    pub address: Option<Vec<u8>>,
    /// The bucket of the network around it, if it has one.
    pub network: Option<Vec<u8>>,
}

/// All buckets.
pub(crate) struct Limits {
    address: Option<Buckets>,
    network: Option<Buckets>,
    account: Option<Buckets>,
    create: Option<Buckets>,
    login: Option<Buckets>,
    mail: Buckets,
    config: LimitsConfig,
}

impl Limits {
    /// Full buckets.
    pub fn new(config: LimitsConfig, clock: Arc<dyn Clock>) -> Self {
        let clock = Shared(clock);
        Self {
            address: Buckets::per_minute(config.address_per_minute, &clock),
            network: Buckets::per_minute(config.address_per_minute.saturating_mul(NETWORK_FACTOR), &clock),
            account: Buckets::per_minute(config.account_per_minute, &clock),
            create: Buckets::per_minute(config.create_per_minute, &clock),
            login: Buckets::per_minute(config.login_per_minute, &clock),
            mail: Buckets::new(Quota::per_hour(MAILS_PER_HOUR), &clock),
            config,
        }
    }

    /// Whom a request from this peer counts for.
    pub fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Caller {
        let from = origin(peer, headers, &self.config.trusted_proxies);
        if from.is_loopback() && !self.config.loopback {
            return Caller::default();
        }
        let (address, network) = keys_of(from);
        Caller { address: Some(address), network }
    }

    /// Takes one request from a caller's buckets; how long to wait if one is empty.
    pub fn charge(&self, caller: &Caller) -> Result<(), Duration> {
        if let Some(address) = &caller.address {
            take(self.address.as_ref(), address.clone())?;
        }
        if let Some(network) = &caller.network {
            take(self.network.as_ref(), network.clone())?;
        }
        Ok(())
    }
}

/// What one page asks for one visitor, in the same process: in the extensions of each of these questions, where no client can put
/// it. Together they count as one request of the address and one of the account. What has a smaller bucket (making measurements,
/// logging in) is counted each time.
#[derive(Debug, Clone, Default)]
pub struct Visit(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    address: AtomicBool,
    account: AtomicBool,
}

impl Visit {
    /// Begins a visit: questions with a copy of these extensions belong together.
    pub fn begin(extensions: &mut Extensions) {
        extensions.insert(Self::default());
    }
}

/// Takes from a bucket unless that was done before in this visit. What was refused has taken nothing: the next one is asked again.
fn once<E>(done: Option<&AtomicBool>, take: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    let Some(done) = done else { return take() };
    if done.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    take().inspect_err(|_| done.store(false, Ordering::Relaxed))
}

/// What the caller of this request may still ask; in every request's extensions.
#[derive(Clone)]
pub(crate) struct Allowance {
    limits: Arc<Limits>,
    caller: Caller,
    visit: Option<Visit>,
    makes_measurements: bool,
}

impl Allowance {
    /// Counts the request for this account.
    pub fn account(&self, account: AccountId) -> Result<(), ApiError> {
        if self.caller.address.is_none() {
            return Ok(());
        }
        let key = || account.0.to_be_bytes().to_vec();
        if self.makes_measurements {
            take(self.limits.create.as_ref(), key()).map_err(too_many)?;
        }
        let counted = self.visit.as_ref().map(|visit| &visit.0.account);
        once(counted, || take(self.limits.account.as_ref(), key())).map_err(too_many)
    }

    /// Counts an attempt to come in from this address.
    pub fn attempt(&self) -> Result<(), ApiError> {
        let Some(address) = &self.caller.address else { return Ok(()) };
        take(self.limits.login.as_ref(), address.clone()).map_err(too_many)
    }

    /// Counts an attempt to come in with this mail address, wherever it comes from.
    pub fn attempt_on(&self, email: &str) -> Result<(), ApiError> {
        self.attempt()?;
        take(self.limits.login.as_ref(), key_of(email)).map_err(too_many)
    }

    /// Counts an attempt by this account to name a secret that was shown to somebody.
    pub fn guess(&self, account: AccountId) -> Result<(), ApiError> {
        self.attempt()?;
        take(self.limits.login.as_ref(), format!("account {account}").into_bytes()).map_err(too_many)
    }

    /// Counts a mail to this address, that it is not flooded.
    pub fn mail_to(&self, email: &str) -> Result<(), ApiError> {
        self.limits.mail.take(key_of(email)).map_err(too_many)
    }
}

impl<S: Sync> FromRequestParts<S> for Allowance {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get().cloned().ok_or_else(ApiError::internal)
    }
}

fn too_many(after: Duration) -> ApiError {
    ApiError::too_many("Too many requests; see Retry-After.", after)
}

fn take(buckets: Option<&Buckets>, key: Vec<u8>) -> Result<(), Duration> {
    buckets.map_or(Ok(()), |buckets| buckets.take(key))
}

/// The bucket of an address, and of the network around it.
fn keys_of(from: IpAddr) -> (Vec<u8>, Option<Vec<u8>>) {
    match from {
        IpAddr::V4(address) => (address.octets().to_vec(), None),
        IpAddr::V6(address) => {
            let head = |bytes| address.octets().iter().copied().take(bytes).collect();
            (head(8), Some(head(6)))
        }
    }
}

/// The bucket of a mail address: a digest, longer than any address's bytes and the same for all lengths.
fn key_of(email: &str) -> Vec<u8> {
    digest_of(email).to_vec()
}

fn makes_measurements(request: &Request) -> bool {
    request.method() == Method::POST && request.uri().path().starts_with("/api/v2/measurements")
}

/// Where a request comes from: the peer, or, when that is a trusted proxy, the rightmost address that is none.
fn origin(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let peer = plain(peer);
    if !is_trusted(&peer) {
        return peer;
    }
    let mut from = peer;
    for address in forwarded(headers).into_iter().take(MAX_HOPS) {
        // What is no address was not written by a proxy that we trust: the last good word counts.
        let Some(address) = address else { break };
        from = address;
        if !is_trusted(&address) {
            break;
        }
    }
    from
}

/// The addresses that proxies have written down, the last one first.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let x: Vec<&str> = lines(headers, "x-forwarded-for");
    if !x.is_empty() {
        return x.iter().rev().map(|text| address(text)).collect();
    }
    let entry = |text: &&str| {
        let is_for = |pair: &&str| pair.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("for="));
        address(text.split(';').map(str::trim).find(is_for)?.get(4..)?)
    };
    lines(headers, FORWARDED.as_str()).iter().rev().map(entry).collect()
}

fn lines<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).collect()
}

/// `192.0.2.1`, `192.0.2.1:80`, `"[2001:db8::1]:80"`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip())).map(plain)
}

/// An IPv4 address that came in an IPv6 one, as on a socket that serves both.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(inner) => Ipv6Addr::to_canonical(&inner),
        IpAddr::V4(_) => address,
    }
}

/// Around every request. One without a peer (there is none but in tests of the router alone) is not counted.
pub(crate) async fn limit(State(limits): State<Arc<Limits>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let caller = peer.map(|peer| limits.caller(peer, request.headers())).unwrap_or_default();
    let visit = request.extensions().get::<Visit>().cloned();
    if let Err(after) = once(visit.as_ref().map(|visit| &visit.0.address), || limits.charge(&caller)) {
        return too_many(after).into_response();
    }
    let allowance = Allowance { limits, caller, visit, makes_measurements: makes_measurements(&request) };
    request.extensions_mut().insert(allowance);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use axum::{Router, middleware};
    use sonde_protocol::time::UnixNanos;
    use tower::ServiceExt as _;

    use super::*;

    fn from(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        origin(peer.parse().unwrap(), &map, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_say_where_a_request_comes_from() {
        const X: &str = "x-forwarded-for";
        assert_eq!(from("192.0.2.1", &[(X, "198.51.100.1")]), "192.0.2.1");
        assert_eq!(from("::ffff:192.0.2.1", &[]), "192.0.2.1");
        assert_eq!(from("10.1.1.1", &[]), "10.1.1.1");
        assert_eq!(
            from("10.1.1.1", &[(X, "203.0.113.9, 198.51.100.1")]),
            "198.51.100.1",
            "what the client wrote counts not"
        );
        assert_eq!(from("10.1.1.1", &[(X, "203.0.113.9"), (X, "198.51.100.1,10.2.2.2")]), "198.51.100.1");
        assert_eq!(from("10.1.1.1", &[(X, "198.51.100.1, unknown")]), "10.1.1.1");
        assert_eq!(
            from("fd00::1", &[("forwarded", "for=192.0.2.9, For=\"[2001:db8::7]:443\";proto=https")]),
            "2001:db8::7"
        );
    }

    /// A clock that stands still: no bucket fills again.
    struct Still;

    impl Clock for Still {
        fn now(&self) -> UnixNanos {
            UnixNanos::from_secs(1)
        }
    }

    #[tokio::test]
    async fn what_a_page_asks_counts_once() {
        let config = LimitsConfig { address_per_minute: 2, account_per_minute: 2, ..LimitsConfig::default() };
        let limits = Arc::new(Limits::new(config, Arc::new(Still)));
        let signed_in = async |allowance: Allowance| allowance.account(AccountId(7)).map(|()| "ok");
        let router =
            Router::new().route("/", get(signed_in)).layer(middleware::from_fn_with_state(limits, super::limit));
        let ask = async |visit: &Extensions| {
            let mut request = Request::new(Body::empty());
            request.extensions_mut().extend(visit.clone());
            let peer: SocketAddr = "192.0.2.1:1".parse().unwrap();
            request.extensions_mut().insert(ConnectInfo(peer));
            let Ok(response) = router.clone().oneshot(request).await;
            response.status().as_u16()
        };
        let visit = || {
            let mut extensions = Extensions::new();
            Visit::begin(&mut extensions);
            extensions
        };
        let (one, other, late) = (visit(), visit(), visit());
        for page in [&one, &one, &other, &one, &other] {
            assert_eq!(ask(page).await, 200, "two pages are two requests, whatever they ask");
        }
        assert_eq!(ask(&Extensions::new()).await, 429, "a plain request finds the bucket empty");
        assert_eq!((ask(&late).await, ask(&late).await), (429, 429), "and so does a third page, with each question");
        assert_eq!(ask(&one).await, 200, "what was let in goes on");
    }

    #[test]
    fn an_ipv6_customer_is_one_caller() {
        let keys = |text: &str| keys_of(text.parse().unwrap());
        assert_eq!(keys("2001:db8:1:2::1"), keys("2001:db8:1:2:ffff::9"));
        assert_ne!(keys("2001:db8:1:2::1").0, keys("2001:db8:1:3::1").0);
        assert_eq!(keys("2001:db8:1:2::1").1, keys("2001:db8:1:3::1").1);
        assert_ne!(keys("192.0.2.1"), keys("192.0.2.2"));
    }
}
