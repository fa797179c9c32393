//! Every path of `/api/v2/openapi.json`, and the pages beside it, as everybody: nobody is told what is not theirs to know.
//!
//! A path that the document has and [`rows`] has not fails the test. Its row says which queries show much, and what the
//! owners do see there; that strangers do not is asked everywhere, of every method.

use serde_json::{Value, json};

use super::{PRIVATE, Scene, scene, shows};
use crate::credits::round;
use crate::lab::{Reply, asking, worldwide};

/// What only rita, its owner, may know of the private measurement; and its number.
pub(super) const DESCRIPTION: &str = "a plan of rita's";
pub(super) const TARGET: &str = "20.77.88.99";
pub(super) const TAG: &str = "ritas-tag";

/// One path.
struct Row {
    path: String,
    /// Queries, from the `?` on. `{private}` is the number of the private measurement.
    queries: Vec<&'static str>,
    /// Queries that find the private measurement, or the probe by what is hidden of it: nobody else may even count it.
    finds: Vec<&'static str>,
    /// What rita sees in one of the answers at least.
    rita: Vec<&'static str>,
    /// What carol, the probe's owner, sees.
    carol: Vec<&'static str>,
    /// It is looked at in a test of its own: its answer has no end, or it only takes.
    elsewhere: bool,
}

fn row(path: &str) -> Row {
    Row {
        path: format!("/api/v2/{path}"),
        queries: vec![""],
        finds: Vec::new(),
        rita: Vec::new(),
        carol: Vec::new(),
        elsewhere: false,
    }
}

impl Row {
    fn asked(mut self, queries: &[&'static str]) -> Self {
        self.queries = queries.to_vec();
        self
    }

    fn finds(mut self, queries: &[&'static str]) -> Self {
        self.finds = queries.to_vec();
        self
    }

    fn rita(mut self, sees: &[&'static str]) -> Self {
        self.rita = sees.to_vec();
        self
    }

    fn carol(mut self, sees: &[&'static str]) -> Self {
        self.carol = sees.to_vec();
        self
    }
}

/// What a measurement's object shows of all that can be asked for.
const ALL: &str = "?page_size=50&optional_fields=probes,probe_sources,current_probes,participation_requests,participant_logs,is_active";

const FORMS: [&str; 2] = ["", "?format=txt"];

const TABLES: [&str; 2] = ["", "?format=csv"];

/// Conditions that only the private measurement meets.
const FINDS: [&str; 7] = [
    "?id={private}",
    "?id__in={private}",
    "?search=plan+of",
    "?target=20.77.88.99",
    "?target_ip=20.77.88.0/24",
    "?tags=ritas-tag",
    "?group={private}",
];

/// What carol, its owner, sees of the probe.
const HOME: [&str; 9] = [
    "20.0.0.9",
    "2a00:1:2:3::9",
    "home of carol",
    "192.168.1.53",
    "dns-silent",
    "7777777",
    "03:33-04:44",
    "no address on eth0",
    "202612010000",
];

/// Conditions that the probe meets by what only carol sees of it.
const FINDS_HOME: [&str; 3] = ["?prefix=20.0.0.9/32", "?prefix_v4=20.0.0.9", "?prefix_v6=2a00:1:2:3::/64"];

fn rows() -> Vec<Row> {
    let plan = [DESCRIPTION, TARGET, TAG, "{private}"];
    let list = |path: &str| row(path).asked(&["", ALL]).finds(&FINDS);
    let mut rows = vec![
        list("measurements/").rita(&plan),
        list("measurements/my/").rita(&plan),
        list("measurements/traceroute/").rita(&plan),
        row("measurements/{id}/").asked(&["", ALL]).rita(&plan),
        row("measurements/{id}/private/").rita(&plan),
        row("measurements/{id}/results/").asked(&FORMS).rita(&[TARGET, "{private}"]).carol(&PRIVATE[..9]),
        row("measurements/{id}/latest/").asked(&FORMS).rita(&[TARGET, "{private}"]).carol(&PRIVATE[..9]),
        row("measurement-latest/{id}/").rita(&[TARGET]).carol(&PRIVATE[..9]),
        row("measurements-latest/{id}/").rita(&[TARGET]).carol(&PRIVATE[..9]),
        row("measurements/{id}/skipped/"),
        row("measurements/{id}/status-check/"),
        row("measurements/{id}/metrics/").asked(&["", "?by=probe"]),
        row("measurements/{id}/summary/").asked(&TABLES).rita(&["{private}"]),
        row("measurements/{id}/summary/probes/").asked(&TABLES).rita(&["{private}"]),
        row("measurements/{id}/summary/answers/").asked(&TABLES).rita(&["{private}"]),
        row("measurements/{id}/summary/heat/").rita(&["{private}"]),
        row("measurements/{id}/paths/").asked(&["", "?by=as"]).rita(&[TARGET, "{private}"]).carol(&PRIVATE[3..7]),
        row("measurements/{id}/participation-requests/").rita(&["{private}"]),
        row("measurements/{id}/participation-requests/{source}/").rita(&["{private}"]),
        row("participation-requests/{id}/").rita(&["{private}"]),
        row("measurements/{id}/tags/").rita(&[TAG]),
        row("measurements/{id}/tags/{tag}/").rita(&[TAG]),
        row("measurements/tags/").asked(&["", "?tag__startswith=ritas"]).rita(&[TAG]),
        row("measurements/my-tags/").rita(&[TAG]),
        row("measurements/my-tags/{tag}/").rita(&[TAG, "{private}"]),
        row("measurements/my-tags/{tag}/stop/"),
        row("measurements/groups/").rita(&["{private}"]),
        row("measurements/groups/{id}/").rita(&["{private}"]),
        row("probes/").carol(&HOME).asked(&["", "?is_public=false&sort=-last_connected"]).finds(&FINDS_HOME),
        row("probes/my/").carol(&HOME).finds(&FINDS_HOME),
        row("probes/{id}/").carol(&HOME),
        row("probes/{id}/measurements/").asked(&["", ALL]).rita(&plan),
        row("probes/{id}/tags/"),
        row("probes/{id}/uptime/").asked(&["", "?window=90d"]),
        // Whoever asks sees the grid alone, so that the owner's place is in no answer.
        row("probes/places/").asked(&["", "?is_public=false"]),
        row("boards/metrics/"),
        row("probes/claim/"),
        row("probes/pending/"),
        row("probes/pending/{code}/"),
        row("probes/{id}/rebind/"),
        row("probes/rankings/"),
        row("probes/tags/"),
        row("probes/tags/{slug}/"),
        row("anchors/").carol(&HOME[..2]).finds(&["?ip_v4=20.0.0.9", "?ip_v6=2a00:1:2:3::9"]),
        row("anchors/{id}/").carol(&HOME[..2]),
        row("anchor-measurements/").asked(&["", "?include=target,measurement"]).carol(&HOME[..2]),
        row("anchor-measurements/{id}/").asked(&["", "?include=target,measurement"]).carol(&HOME[..2]),
        row("keys/").rita(&["{private}"]),
        row("keys/{uuid}/").rita(&["{private}"]),
        row("keys/permissions/"),
        row("keys/permissions/{permission}/targets/").rita(&["{private}"]),
        row("credits/"),
        row("credits/income-items/"),
        row("credits/expense-items/").rita(&["{private}"]),
        row("credits/transactions/").rita(&["{private}"]),
        row("credits/transactions/{id}/"),
        row("credits/transfers/"),
        row("credits/transfer/"),
        row("measurements/estimate/"),
        row("accounts/me/"),
        row("accounts/invites/"),
        row("accounts/signup/"),
        row("accounts/verify/"),
        row("accounts/password-reset/"),
        row("accounts/password-reset/confirm/"),
        row("accounts/login/"),
        row("accounts/logout/"),
        row("accounts/sessions/"),
        row("accounts/sessions/{id}/"),
        row("alerts/").rita(&["{private}"]),
        row("alerts/{id}/").rita(&["{private}"]),
        row("alerts/{id}/deliveries/").rita(&["{private}"]),
        row("alerts/{id}/test/"),
        row("ipv6/").asked(&["", "?format=csv"]),
        row("ipv6/countries/").asked(&["", "?format=csv"]),
        row("ipv6/countries/{code}/"),
        row("ipv6/networks/").asked(&["", "?country=DE"]),
        row("ipv6/networks/{asn}/"),
        row("ipv6/prefixes/").asked(&["", "?af=4&length=8", "?prefix=2000::/8&format=csv"]),
        row("ipv6/prefixes/{address}/{length}/"),
        row("ipv6/series/").asked(&["", "?step=day", "?asn=64501", "?prefix=20.0.0.0/8"]),
        row("ipv6/compare/").asked(&["?a=world&b=DE"]),
        row("ipv6/map/"),
        row("ipv6/method/"),
        row("ipv6/metrics/").asked(&["", "?asn=64501&prefix=20.0.0.0/8"]),
        row("ipv6/probes/{id}/").carol(&["192.168.1.53"]),
    ];
    for kind in ["ping", "dns", "sslcert", "http", "ntp", "pathmtu", "ipv6"] {
        rows.push(list(&format!("measurements/{kind}/")));
    }
    rows
}

/// A private and a public measurement to the anchor that the probe is.
fn measure_anchor(scene: &Scene) -> [String; 2] {
    [false, true].map(|is_public| {
        let mut mesh = asking("ping", "good.example", worldwide(1));
        mesh["is_oneoff"] = json!(false);
        mesh["definitions"][0]["is_public"] = json!(is_public);
        scene.lab.measure(&scene.rita, &mesh).to_string()
    })
}

/// People and their things, and which path is whose.
pub(crate) struct World {
    pub(super) scene: Scene,
    key: String,
    alert: String,
    meshes: [String; 2],
    transaction: String,
}

impl World {
    pub fn new() -> Self {
        let scene = scene();
        let made = |path: &str, body: &Value, field: &str| {
            let reply = scene.lab.post_as(&scene.rita, path, body);
            assert!((200..300).contains(&reply.status), "{reply:?}");
            reply.json()[field].to_string().trim_matches('"').to_owned()
        };
        let target = json!({"type": "measurement", "id": scene.private});
        let grants = json!([{"permission": "measurements.get_measurement", "target": target}]);
        let key = made("/api/v2/keys/", &json!({"label": DESCRIPTION, "grants": grants}), "name");
        let rule = json!({"measurement": scene.private, "description": DESCRIPTION, "metric": "failed", "operator": ">",
            "threshold": 0, "probes": 1, "runs": 1, "of": 1, "url": "https://hook.example/in"});
        let alert = made("/api/v2/alerts/", &rule, "id");
        made(&format!("/api/v2/alerts/{alert}/test/"), &json!({}), "id");
        let home = json!({"description": HOME[2]});
        let path = format!("/api/v2/probes/{}/", scene.probe);
        assert_eq!(scene.lab.call("PATCH", &path, Some(&scene.carol.key), Some(&home)).status, 200);
        let meshes = measure_anchor(&scene);
        round(&scene.lab);
        let booked = scene.lab.get_as(&scene.rita, "/api/v2/credits/transactions/").json();
        let transaction = booked["results"][0]["id"].to_string();
        Self { scene, key, alert, meshes, transaction }
    }

    /// Asks as rita, who may read every path of the document.
    pub fn as_rita(&self, url: &str) -> Reply {
        self.scene.lab.get_as(&self.scene.rita, url)
    }

    /// The paths that a path of the document stands for; rita may read the last.
    pub fn filled(&self, path: &str) -> Vec<String> {
        let code = if path.contains("/ipv6/") { "DE" } else { "2222-2222" };
        let path = path
            .replace("{asn}", "64501")
            .replace("{address}/{length}", "20.0.0.0/8")
            .replace("{source}", "probes")
            .replace("{tag}", TAG)
            .replace("{slug}", "system-ipv4-works")
            .replace("{code}", code)
            .replace("{uuid}", &self.key)
            .replace("{permission}", "measurements.get_measurement");
        let all = || self.scene.public.into_iter().chain([self.scene.private]).map(|id| id.to_string());
        let ids: Vec<String> = match path.strip_prefix("/api/v2/").and_then(|path| path.split('/').next()) {
            Some("probes" | "ipv6") => vec![self.scene.probe.to_string()],
            Some("alerts") => vec![self.alert.clone()],
            Some("anchors") => vec!["1".to_owned()],
            Some("credits") => vec![self.transaction.clone()],
            Some("anchor-measurements") => self.meshes.to_vec(),
            // One a measurement.
            Some("participation-requests") => (1..=all().count()).map(|id| id.to_string()).collect(),
            _ => all().collect(),
        };
        match path.contains("{id}") {
            true => ids.iter().map(|id| path.replace("{id}", id)).collect(),
            false => vec![path],
        }
    }
}

struct Viewer<'a> {
    name: &'static str,
    key: Option<&'a str>,
    /// Owns the measurements.
    is_rita: bool,
    /// Owns the probe.
    is_carol: bool,
}

impl Viewer<'_> {
    /// Nothing is shown that is somebody else's.
    fn may_read(&self, what: &str, text: &str, private: &str) {
        let plan = [DESCRIPTION, TARGET, TAG, private];
        let forbidden = plan.iter().filter(|_| !self.is_rita).chain(PRIVATE.iter().filter(|_| !self.is_carol));
        for word in forbidden {
            assert!(!shows(text, word), "{what} shows {word} to {}: {text}", self.name);
        }
    }
}

#[test]
fn nobody_is_told_what_is_not_theirs() {
    let world = World::new();
    let scene = &world.scene;
    let (lab, private) = (&scene.lab, scene.private.to_string());
    let dave = lab.person("dave");

    let viewer = |name, key, is_rita, is_carol| Viewer { name, key, is_rita, is_carol };
    let viewers = [
        viewer("anybody", None, false, false),
        viewer("a stranger with a key", Some(dave.key.as_str()), false, false),
        viewer("the owner of the probe", Some(&scene.carol.key), false, true),
        viewer("the owner of the measurements", Some(&scene.rita.key), true, false),
    ];
    let document = lab.get("/api/v2/openapi.json").json();
    let rows = rows();
    let known = |path: &str| rows.iter().find(|row| row.path == path);
    let paths = document["paths"].as_object().unwrap();
    for row in &rows {
        assert!(paths.contains_key(&row.path), "{} is not there any more", row.path);
    }
    let mut changes = Vec::new();
    for (path, item) in paths {
        let row = known(path).unwrap_or_else(|| panic!("{path} is new: give it a row, so that it is looked at"));
        let concrete = world.filled(path);
        let methods = item.as_object().unwrap().keys().filter(|method| *method != "get");
        changes.extend(methods.flat_map(|method| concrete.iter().map(|path| (method.to_uppercase(), path.clone()))));
        if row.elsewhere || item.get("get").is_none() {
            continue;
        }
        let queries: Vec<String> = row.queries.iter().map(|query| query.replace("{private}", &private)).collect();
        for viewer in &viewers {
            let mut read = String::new();
            for url in concrete.iter().flat_map(|path| queries.iter().map(move |query| format!("{path}{query}"))) {
                let reply = lab.call("GET", &url, viewer.key, None);
                assert!(reply.status < 500, "{url}: {reply:?}");
                let is_hidden = url.contains(&private) && !viewer.is_rita;
                assert!(!is_hidden || matches!(reply.status, 403 | 404), "{url} as {}: {reply:?}", viewer.name);
                viewer.may_read(&url, &reply.text, &private);
                if reply.status == 200 {
                    read += &reply.text;
                }
            }
            let due = [(viewer.is_rita, &row.rita), (viewer.is_carol, &row.carol)];
            for word in due.into_iter().filter(|(is, _)| *is).flat_map(|(_, words)| words) {
                let word = word.replace("{private}", &private);
                assert!(shows(&read, &word), "{path} does not show {word} to {}: {read}", viewer.name);
            }
            for query in &row.finds {
                let url = format!("{path}{}", query.replace("{private}", &private));
                let reply = lab.call("GET", &url, viewer.key, None);
                viewer.may_read(&url, &reply.text, &private);
                let count = if reply.status == 200 { reply.json()["count"].as_u64() } else { None };
                let is_there = viewer.is_rita && !row.rita.is_empty() || viewer.is_carol && !row.carol.is_empty();
                assert_eq!(count.unwrap_or(0), u64::from(is_there), "{url} as {}: {reply:?}", viewer.name);
            }
        }
    }
    // What those who may not change it are answered, whatever they try.
    for viewer in viewers.iter().filter(|viewer| !viewer.is_rita) {
        for (method, path) in &changes {
            let reply = lab.call(method, path, viewer.key, Some(&json!({})));
            let what = format!("{method} {path}");
            assert!(reply.status < 500, "{what}: {reply:?}");
            viewer.may_read(&what, &reply.text, &private);
            let is_hidden = path.contains(&private) && !viewer.is_rita;
            assert!(!is_hidden || matches!(reply.status, 403 | 404), "{what} as {}: {reply:?}", viewer.name);
        }
    }
    let after = lab.get_as(&scene.rita, &format!("/api/v2/measurements/{private}/")).json();
    assert_eq!((&after["description"], &after["tags"]), (&json!(DESCRIPTION), &json!([TAG])), "nobody has changed it");
}

#[test]
fn pages_for_people_are_for_everybody() {
    let scene = scene();
    let everybody = Viewer { name: "anybody", key: None, is_rita: false, is_carol: false };
    for path in ["/healthz", "/api/v2/openapi.json"] {
        // A key changes nothing, so that a page cannot be cached for one and shown to another.
        for key in [None, Some(scene.rita.key.as_str()), Some(scene.carol.key.as_str())] {
            let reply = scene.lab.call("GET", path, key, None);
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
            everybody.may_read(path, &reply.text, &scene.private.to_string());
        }
    }
}
