//! `sonde serve`: collector and API over one data directory.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use async_trait::async_trait;
use sonde_api::egress::{Egress, SystemConnect};
use sonde_api::{
    AnchorBuiltins, Api, ApiConfig, CertificateSource, Certificates, Clock, Dispatch, Listener, Mailer, Neighbour,
    PlaceFiles, Replacements, SystemClock, SystemResolver, TargetUpdates, Visit, Watch, certificate_names,
};
use sonde_collector::network::NetworkError;
use sonde_collector::server::Handle;
use sonde_collector::tls::is_for_collector;
use sonde_collector::{Collector, CollectorConfig, Network, ReleasesConfig};
use sonde_protocol::board::UpdateChoice;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::Drain;
use sonde_store::bus::local::LocalBus;
use sonde_web::Site;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::StartHandshake;
use tracing::{info, warn};

use crate::admin::{self, AdminContext, Net};
use crate::builtins;
use crate::config::{ApiSection, Config};
use crate::data::DataDir;
use crate::{release, upkeep};

/// How long the probes get to leave when the server stops.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// The soonest a drained probe comes back, in milliseconds: a restart takes about as long.
const DRAIN_AFTER_MS: u32 = 1_000;

/// Names a folder to read the site's assets from, each time anew, for whoever works on them (`api/web/assets`).
const ASSETS: &str = "SONDE_WEB_ASSETS";

/// The API's way to the collector in the same process: a function call.
struct Direct(Handle);

#[async_trait]
impl Dispatch for Direct {
    async fn orders_changed(&self, probes: &[ProbeId]) {
        self.0.orders_changed(probes).await;
    }

    async fn http_hosts(&self) -> Vec<String> {
        self.0.with_network(|network| network.directory().http_hosts.iter().map(ToString::to_string).collect())
    }

    async fn key_admitted(&self, key: &PublicKey, probe: ProbeId) {
        self.0.key_admitted(key, probe);
    }

    async fn key_replaced(&self, probe: ProbeId) {
        self.0.key_replaced(probe);
    }

    async fn updates_chosen(&self, probe: ProbeId, choice: UpdateChoice) {
        self.0.updates_chosen(probe, choice);
    }
}

/// Probes that come to the API's port, because UDP is blocked where they are.
struct ProbesByTls(Handle);

impl Neighbour for ProbesByTls {
    fn speaks(&self, alpn: &[u8]) -> bool {
        is_for_collector(alpn)
    }

    fn take(&self, handshake: StartHandshake<TcpStream>, peer: SocketAddr) {
        self.0.take_tls(handshake, peer);
    }
}

/// A running server.
pub struct Server {
    collector: Collector,
    addresses: Vec<SocketAddr>,
    tls_addresses: Vec<SocketAddr>,
    context: Arc<AdminContext>,
    stop: watch::Sender<bool>,
    api: JoinHandle<()>,
    admin: JoinHandle<()>,
    /// What works beside the API for as long as the server lives.
    beside: JoinSet<()>,
    _data: DataDir,
}

impl Server {
    /// Starts collector, API and administration socket over the data directory `data`.
    pub async fn start(data: &Path, config: &Config) -> Result<Self> {
        let data = DataDir::open(data)?;
        let certificates = open_certificates(&data, &config.api)?;
        let (catalog, results) = (data.catalog()?, data.results()?);
        let network = open_network(&data.network(), config)?;
        let api_config = ApiConfig {
            public_url: config.api.public_url.clone(),
            allow_targets: config.api.allow_targets.clone(),
            min_interval: config.api.min_interval,
            webhook_allow: config.alerts.allow.clone(),
            limits: config.limits.to_api(),
            accounts: config.accounts.to_api(),
            policy: config.policy(),
        };
        // Before the collector: each probe that comes back finds its orders as they are from now on.
        let http_hosts: Vec<String> = network.directory().http_hosts.iter().map(ToString::to_string).collect();
        let file = config.builtins.file.as_ref();
        let builtins = builtins::reconcile(file, &*catalog, &api_config, &http_hosts, SystemClock.now()).await?;
        let listen = CollectorConfig {
            listen: config.collector.listen.clone(),
            enrol: config.network.enrol.into(),
            releases: ReleasesConfig {
                directory: data.releases().path().to_owned(),
                bytes_per_second: config.updates.bytes_per_second,
            },
        };
        let bus = Arc::new(LocalBus::default());
        let tables = config.places.clone();
        let places = PlaceFiles::open(tables.asn, tables.country, tables.as_names)
            .context("the tables of `[places]` cannot be used")?;
        let collector =
            Collector::start(&listen, catalog.clone(), results.clone(), bus.clone(), places.clone(), network)
                .await
                .context("the collector cannot start")?;
        let handle = collector.handle();
        let context = Arc::new(AdminContext {
            catalog: catalog.clone(),
            network: Net::Live(handle.clone()),
            anchors_changed: Arc::default(),
            consent_version: config.accounts.consent_version.clone(),
        });
        let mut beside = JoinSet::new();
        beside.spawn(upkeep::keep_places(catalog.clone(), places.clone()));
        beside.spawn(upkeep::keep_tags(catalog.clone(), results.clone()));
        beside.spawn(upkeep::keep_texts(catalog.clone()));
        let (expire, updates_expire) = watch::channel(None);
        beside.spawn(release::renew::keep(data.releases(), expire));
        let api = Api {
            mailer: open_mailer(config)?,
            catalog,
            results,
            reachability: data.reachability()?,
            bus,
            dispatch: Arc::new(Direct(handle.clone())),
            resolver: Arc::new(SystemResolver::default()),
            clock: Arc::new(SystemClock),
            places: places.clone(),
            updates_expire,
            config: api_config,
        };
        beside.spawn(sonde_api::keep_charging(api.clone()));
        beside.spawn(upkeep::keep_votes(api.clone(), config.ipv6.votes_days));
        if config.alerts.enabled {
            beside.spawn(watch(&api, config)?.run());
        }
        beside.spawn(Replacements(api.clone()).run());
        beside.spawn(TargetUpdates(api.clone()).run());
        beside.spawn(AnchorBuiltins { api: api.clone(), file: builtins }.run(Arc::clone(&context.anchors_changed)));
        // Before the API: whoever has seen that answer can administer.
        let admin = admin::listen(&data.admin_socket(), context.clone())?;
        let (stop, stopped) = watch::channel(false);
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for address in &config.api.listen {
            let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
            addresses.push(listener.local_addr()?);
            listeners.push(Listener::from(listener));
        }
        let mut tls_addresses = Vec::new();
        if let Some(certificates) = &certificates {
            let tls = certificates.server_config()?;
            beside.spawn(Arc::clone(certificates).keep_fresh(Arc::new(SystemClock)));
            for address in &config.api.listen_tls {
                let listener =
                    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
                tls_addresses.push(listener.local_addr()?);
                let probes = Arc::new(ProbesByTls(handle.clone()));
                listeners.push(Listener::shared(listener, Arc::clone(&tls), probes));
            }
        }
        let shutdown = async move {
            let mut stopped = stopped;
            // An error means that the server is gone, which is a stop too.
            let _ = stopped.wait_for(|&stop| stop).await;
        };
        let site = Site {
            network: config.network.name.clone(),
            public_url: config.api.public_url.clone(),
            assets: env::var_os(ASSETS).map(PathBuf::from),
            visit: Some(Visit::begin),
        };
        let router = sonde_web::router(sonde_api::router(api), site);
        let api = tokio::spawn(sonde_api::serve(listeners, router, shutdown));
        for address in &addresses {
            info!(url = %format!("http://{address}/"), "API listens");
        }
        for address in &tls_addresses {
            info!(url = %format!("https://{address}/"), "API listens");
        }
        Ok(Self { collector, addresses, tls_addresses, context, stop, api, admin, beside, _data: data })
    }

    /// Where the API listens.
    pub fn api_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the API listens for HTTPS.
    pub fn api_tls_addresses(&self) -> &[SocketAddr] {
        &self.tls_addresses
    }

    /// What administration works on.
    pub fn admin(&self) -> &AdminContext {
        &self.context
    }

    /// Does the network's root key lie in the data directory?
    pub fn root_is_here(&self) -> bool {
        self.collector.handle().with_network(Network::root_is_here)
    }

    /// Where the collector listens.
    pub fn collector_addresses(&self) -> Vec<SocketAddr> {
        self.collector.local_addresses()
    }

    /// Lets the probes go, makes durable what they sent, and ends.
    pub async fn stop(mut self) {
        let connected = self.collector.handle().connected();
        info!(probes = connected, "stopping: probes are asked to come back");
        // The returns are spread so that no more than about a thousand arrive in a second.
        let spread_ms = u32::try_from(connected).unwrap_or(u32::MAX).max(500);
        self.collector.stop(Drain { after_ms: DRAIN_AFTER_MS, spread_ms }, DRAIN_PATIENCE).await;
        let _ = self.stop.send(true);
        self.admin.abort();
        let _ = self.api.await;
        self.beside.shutdown().await;
    }
}

/// What watches the alert rules.
fn watch(api: &Api, config: &Config) -> Result<Watch> {
    let egress = Egress::new(
        Arc::clone(&api.resolver),
        Arc::new(SystemConnect),
        config.alerts.roots.as_deref(),
        config.alerts.allow.clone(),
    );
    let egress = egress.map_err(|why| anyhow!("the `roots` in `[alerts]` cannot be used: {why}"))?;
    Ok(Watch {
        catalog: Arc::clone(&api.catalog),
        results: Arc::clone(&api.results),
        clock: Arc::clone(&api.clock),
        egress: Arc::new(egress),
    })
}

/// The certificate for HTTPS, if HTTPS is wanted.
fn open_certificates(data: &DataDir, config: &ApiSection) -> Result<Option<Arc<Certificates>>> {
    let source = match (&config.certificate, &config.private_key) {
        (Some(certificate), Some(private_key)) => {
            CertificateSource::Files { certificate: certificate.clone(), private_key: private_key.clone() }
        }
        (None, None) => CertificateSource::SelfMade {
            path: data.certificate(),
            names: certificate_names(config.public_url.as_deref(), &config.listen_tls),
        },
        _ => bail!("`certificate` and `private_key` in `[api]` go together: set both or neither"),
    };
    if config.listen_tls.is_empty() {
        return Ok(None);
    }
    Ok(Some(Certificates::open(source, SystemClock.now()).context("HTTPS cannot be served")?))
}

/// The way for mail, if there is one.
fn open_mailer(config: &Config) -> Result<Option<Mailer>> {
    let mail = config.mail.to_api()?;
    mail.map(|mail| Mailer::start(&mail).context("mail cannot be sent")).transpose()
}

/// Opens the network of a data directory, or makes it.
pub fn open_network(path: &Path, config: &Config) -> Result<Network> {
    let exists = path.join("directory.cbor").exists();
    let addresses = if exists { config.collector.addresses.clone() } else { config.collector_addresses() };
    if !exists && addresses.is_empty() {
        bail!(
            "a new network needs to know where its probes find the collector: set `addresses` in `[collector]`, for \
             instance addresses = [\"collector.example.net:8333\"]"
        );
    }
    let mut network = Network::open_or_create(path, &config.network.name, &addresses)?;
    tell_tls(&mut network, config)?;
    Ok(network)
}

/// Signs where probes come by TLS over TCP. A network whose root key is elsewhere keeps what was signed there.
fn tell_tls(network: &mut Network, config: &Config) -> Result<()> {
    let key = network.collector_key().public();
    let own = network.directory().collectors.iter().find(|collector| collector.key == key);
    let addresses = own.map(|own| config.tls_addresses(own.addresses.iter().map(|address| address.as_str())));
    match network.tell_tls(&addresses.unwrap_or_default()) {
        Err(NetworkError::NoRoot(_)) => {
            warn!(
                "the directory does not say where TLS over TCP is served now, and the root key is not here to sign it"
            );
            Ok(())
        }
        other => Ok(other.map(|_| ())?),
    }
}
