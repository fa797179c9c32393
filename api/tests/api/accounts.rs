//! People: getting an account, logging in, losing a password, by HTTP and with the cookies that a browser would keep.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::{Value, json};
use sonde_api::{AccountsConfig, ApiConfig, MailConfig, MailWay, Signup};
use sonde_store::catalog::Accounts;
use tempfile::TempDir;
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::lab::{Lab, NOW, Reply, asking, worldwide};

const PASSWORD: &str = "correct horse battery staple";
const OTHER: &str = "Tr0ub4dor and three";

fn config(signup: Signup) -> ApiConfig {
    let accounts = AccountsConfig { signup, invites_per_account: 1, ..AccountsConfig::default() };
    ApiConfig { accounts, ..ApiConfig::default() }
}

/// A server, and the folder that its mail goes to.
struct Town {
    lab: Lab,
    mail: TempDir,
}

impl Town {
    fn new(config: ApiConfig) -> Self {
        let mail = tempfile::tempdir().unwrap();
        let way = MailWay::Directory(mail.path().into());
        let lab = Lab::with_mail(config, MailConfig { from: "Sonde <sonde@example.net>".into(), way });
        Self { lab, mail }
    }

    fn letters(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.mail.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|end| end == "eml")).collect()
    }

    /// Waits for the next letter and takes it: whom it is to, and its text.
    fn letter(&self) -> (String, String) {
        let path = until(|| self.letters().pop());
        let text = plain(&std::fs::read_to_string(&path).unwrap());
        std::fs::remove_file(path).unwrap();
        let to = text.lines().find_map(|line| line.strip_prefix("To: ")).unwrap().to_owned();
        (to, text)
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        self.lab.call("POST", &format!("/api/v2/accounts/{path}/"), None, Some(body))
    }

    fn sign_up(&self, email: &str, password: &str) -> Reply {
        self.post("signup", &json!({"email": email, "password": password, "consent": "1"}))
    }

    /// Somebody with an account.
    fn account(&self, email: &str, password: &str) {
        assert_eq!(self.sign_up(email, password).status, 202);
        let (_, text) = self.letter();
        assert_eq!(self.post("verify", &json!({"token": token(&text)})).status, 201);
    }

    fn log_in(&self, email: &str, password: &str) -> Browser<'_> {
        let reply = self.try_log_in(email, password);
        assert_eq!(reply.status, 200, "{reply:?}");
        let csrf = reply.json()["csrf_token"].as_str().unwrap().to_owned();
        let cookie = reply.headers["set-cookie"].split(';').next().unwrap().to_owned();
        Browser { lab: &self.lab, cookie, csrf }
    }

    fn try_log_in(&self, email: &str, password: &str) -> Reply {
        self.post("login", &json!({"email": email, "password": password}))
    }
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        std::thread::yield_now();
    }
}

/// A mail's text without the line breaks that quoted-printable adds.
fn plain(text: &str) -> String {
    text.replace("=\r\n", "").replace("=3D", "=")
}

/// The token in a mail.
fn token(text: &str) -> String {
    let word = text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)).find(|word| word.len() == 43);
    word.unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// Somebody who is logged in.
struct Browser<'a> {
    lab: &'a Lab,
    cookie: String,
    csrf: String,
}

impl Browser<'_> {
    fn ask(&self, method: &str, path: &str, body: Option<&Value>, headers: &[(&str, &str)]) -> Reply {
        let mut all = vec![("Cookie", self.cookie.as_str())];
        all.extend(headers);
        let body = body.map(|body| body.to_string().into_bytes());
        self.lab.call_with(method, &format!("/api/v2/{path}"), &all, body)
    }

    fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, None, &[])
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        self.ask(method, path, body, &[("X-CSRF-Token", &self.csrf)])
    }

    fn is_in(&self) -> bool {
        let reply = self.get("accounts/me/");
        assert!(matches!(reply.status, 200 | 403), "{reply:?}");
        reply.status == 200
    }
}

#[test]
fn a_life_from_sign_up_to_log_out() {
    let town = Town::new(config(Signup::Open));
    let rules = town.lab.get("/api/v2/accounts/signup/").json();
    assert_eq!(rules, json!({"signup": "open", "consent": "1", "verification": "mail", "type": "signup"}));
    assert_eq!(town.sign_up("Ada@Example.net", PASSWORD).status, 202);
    let (to, text) = town.letter();
    assert_eq!(to, "ada@example.net");
    town.try_log_in("ada@example.net", PASSWORD).refused(403, 104);
    let verify = json!({"token": token(&text)});
    let made = town.post("verify", &verify);
    assert_eq!((made.status, &made.json()["email"]), (201, &json!("ada@example.net")));
    assert_eq!(made.json()["consent"]["version"], "1");
    assert_eq!(town.post("verify", &verify).refused(400, 102), ["/token"], "once");

    let reply = town.try_log_in("ADA@example.net", PASSWORD);
    let cookie = &reply.headers["set-cookie"];
    for part in ["sonde=", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=2592000"] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains("Domain"), "{cookie}");
    assert_eq!(reply.headers["cache-control"], "no-store");

    let ada = town.log_in("ada@example.net", PASSWORD);
    let me = ada.get("accounts/me/");
    assert_eq!((me.status, &me.json()["csrf_token"]), (200, &json!(ada.csrf)));
    // A session may do what the account may: measure, see what is private, make keys that outlive it.
    let asked = json!({"is_public": false});
    let mut body = asking("ping", "1.1.1.1", worldwide(1));
    body["definitions"][0]["is_public"] = asked["is_public"].clone();
    let made = ada.send("POST", "measurements/", Some(&body));
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("measurements/{}/", made.json()["measurements"][0]);
    let seen = ada.get(&path);
    assert_eq!((seen.status, seen.headers["cache-control"].as_str()), (200, "no-store"));
    town.lab.get(&format!("/api/v2/{path}")).refused(404, 104);
    let key = ada.send("POST", "keys/", Some(&json!({"grants": [{"permission": "keys.list_keys", "target": null}]})));
    assert_eq!(key.status, 201, "{key:?}");
    let key = key.json()["uuid"].as_str().unwrap().to_owned();

    let out = ada.send("POST", "accounts/logout/", None);
    assert_eq!(out.status, 204);
    assert!(out.headers["set-cookie"].starts_with("sonde=;") && out.headers["set-cookie"].contains("Max-Age=0"));
    assert!(!ada.is_in());
    assert_eq!(ada.get("probes/").status, 200, "what is public can be read with an old cookie");
    assert_eq!(town.lab.call("GET", "/api/v2/keys/", Some(&key), None).status, 200);
}

#[test]
fn another_sites_page_cannot_use_the_cookie() {
    let town = Town::new(config(Signup::Open));
    town.account("ada@example.net", PASSWORD);
    let ada = town.log_in("ada@example.net", PASSWORD);
    let body = asking("ping", "1.1.1.1", worldwide(1));
    let own = format!("http://{}", town.lab.address);
    let post = |headers: &[(&str, &str)]| ada.ask("POST", "measurements/", Some(&body), headers);
    let with = |header| [("X-CSRF-Token", ada.csrf.as_str()), header];
    post(&[]).refused(403, 104);
    let other = town.log_in("ada@example.net", PASSWORD);
    post(&[("X-CSRF-Token", &other.csrf)]).refused(403, 104);
    post(&[("X-CSRF-Token", "")]).refused(403, 104);
    for foreign in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        post(&with(foreign)).refused(403, 104);
        // Nor can it log somebody in as somebody else, or sign them up.
        for path in ["login", "signup", "verify", "password-reset", "password-reset/confirm"] {
            let path = format!("/api/v2/accounts/{path}/");
            town.lab.call_with("POST", &path, &[foreign], Some(b"{}".to_vec())).refused(403, 104);
        }
    }
    assert_eq!(town.lab.get("/api/v2/measurements/").json()["count"], 0);
    for ours in [("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")] {
        assert_eq!(post(&with(ours)).status, 201, "{ours:?}");
    }
    // A key is not a browser's: it needs none of this, and goes before the cookie.
    let ben = town.lab.person("ben");
    let key = format!("Key {}", ben.key);
    let made = post(&[("Authorization", &key), ("Origin", "https://evil.example")]);
    assert_eq!(made.status, 201, "{made:?}");
    let mine = town.lab.get_as(&ben, "/api/v2/measurements/my/");
    assert_eq!(mine.json()["count"], 1, "{mine:?}");
    let reply = ada.get("probes/");
    assert!(!reply.headers.contains_key("access-control-allow-credentials"));
}

#[test]
fn an_account_is_for_people_and_not_for_keys() {
    let town = Town::new(config(Signup::Invite));
    let ben = town.lab.person("ben");
    for (method, path, body) in [
        ("GET", "me", None),
        ("PATCH", "me", Some(json!({"old_password": PASSWORD, "password": OTHER}))),
        ("POST", "logout", None),
        ("GET", "sessions", None),
        ("DELETE", "sessions", None),
        ("GET", "invites", None),
        ("POST", "invites", Some(json!({"email": "x@example.net"}))),
    ] {
        let path = format!("/api/v2/accounts/{path}/");
        town.lab.call(method, &path, Some(&ben.key), body.as_ref()).refused(403, 104);
        town.lab.call(method, &path, None, body.as_ref()).refused(403, 104);
    }
}

#[test]
fn with_https_the_cookie_is_for_https_alone() {
    let town = Town::new(ApiConfig { public_url: Some("https://sonde.example/".into()), ..config(Signup::Open) });
    assert_eq!(town.sign_up("ada@example.net", PASSWORD).status, 202);
    let (_, text) = town.letter();
    assert!(text.contains(&format!("https://sonde.example/verify#token={}", token(&text))), "{text}");
    assert_eq!(town.post("verify", &json!({"token": token(&text)})).status, 201);
    let reply = town.try_log_in("ada@example.net", PASSWORD);
    let cookie = &reply.headers["set-cookie"];
    assert!(cookie.starts_with("__Host-sonde=") && cookie.contains("Secure"), "{cookie}");
    let ada = town.log_in("ada@example.net", PASSWORD);
    assert!(ada.is_in());
    let planted = Browser { cookie: ada.cookie.replace("__Host-", ""), csrf: ada.csrf.clone(), lab: &town.lab };
    assert!(!planted.is_in(), "a cookie that a page without TLS could set");
    let origin = [("X-CSRF-Token", ada.csrf.as_str()), ("Origin", "https://sonde.example")];
    assert_eq!(ada.ask("POST", "accounts/logout/", None, &origin).status, 204);
}

#[test]
fn what_an_account_needs() {
    let town = Town::new(config(Signup::Open));
    let good = json!({"email": "ada@example.net", "password": PASSWORD, "consent": "1"});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        town.post("signup", &body).refused(400, 102)
    };
    for (field, value) in [
        ("email", json!("ada")),
        ("email", json!("ada@example.net\r\nBcc: eve@example.net")),
        ("email", json!(["ada@example.net"])),
        ("password", json!("123456789")),
        ("password", json!("x".repeat(1025))),
        ("password", json!(1_234_567_890)),
        ("consent", json!("0")),
        ("consent", json!(true)),
        ("invite", json!("x".repeat(300))),
    ] {
        assert_eq!(with(field, value.clone()), [format!("/{field}")], "{value}");
    }
    assert_eq!(town.post("signup", &json!({})).refused(400, 102), ["/email", "/password", "/consent"]);
    for path in ["signup", "verify", "login", "password-reset", "password-reset/confirm"] {
        assert_eq!(town.post(path, &json!([])).refused(400, 102)[0], "");
    }
    assert_eq!(town.post("verify", &json!({"token": "short"})).refused(400, 102), ["/token"]);
    assert!(town.letters().is_empty());
}

#[test]
fn whether_an_address_has_an_account_is_told_to_its_mail_only() {
    let town = Town::new(config(Signup::Open));
    town.account("ada@example.net", PASSWORD);
    let shape = |reply: Reply| (reply.status, reply.text, reply.headers.get("content-length").cloned());
    let (known, unknown) = ("ada@example.net", "bob@example.net");

    assert_eq!(shape(town.try_log_in(known, OTHER)), shape(town.try_log_in(unknown, OTHER)));
    let reset = |email: &str| shape(town.post("password-reset", &json!({ "email": email })));
    assert_eq!(reset(known), reset(unknown));
    let (to, text) = town.letter();
    assert_eq!(to, known);
    token(&text);
    assert_eq!(shape(town.sign_up(known, OTHER)), shape(town.sign_up(unknown, OTHER)));
    let mut letters = [town.letter(), town.letter()];
    letters.sort();
    assert_eq!([&letters[0].0, &letters[1].0], [known, unknown]);
    assert!(letters[0].1.contains("already"), "{letters:?}");
    assert!(!letters[1].1.contains("already"), "{letters:?}");
    assert_eq!(town.try_log_in(known, PASSWORD).status, 200, "signing up again changes nothing");
    assert!(town.letters().is_empty());
}

#[test]
fn nobody_prepares_an_account_for_somebody_elses_address() {
    let town = Town::new(config(Signup::Open));
    assert_eq!(town.sign_up("ada@example.net", PASSWORD).status, 202);
    let own = town.letter().1;
    assert_eq!(town.sign_up("ada@example.net", OTHER).status, 202);
    let eves = town.letter().1;
    assert_eq!(town.post("verify", &json!({"token": token(&own)})).status, 201);
    assert_eq!(town.post("verify", &json!({"token": token(&eves)})).refused(400, 102), ["/token"]);
    town.try_log_in("ada@example.net", OTHER).refused(403, 104);
    assert_eq!(town.try_log_in("ada@example.net", PASSWORD).status, 200);
}

#[test]
fn a_forgotten_password() {
    let town = Town::new(config(Signup::Open));
    town.account("ada@example.net", PASSWORD);
    let ada = town.log_in("ada@example.net", PASSWORD);
    let ask = || {
        assert_eq!(town.post("password-reset", &json!({"email": "ada@example.net"})).status, 202);
        token(&town.letter().1)
    };
    let set = |token: &str, password: &str| {
        town.post("password-reset/confirm", &json!({"token": token, "password": password}))
    };
    let (first, second) = (ask(), ask());
    assert_eq!(set(&first, "short").refused(400, 102), ["/password"]);
    assert_eq!(set(&first, OTHER).status, 200);
    for used in [&first, &second] {
        assert_eq!(set(used, PASSWORD).refused(400, 102), ["/token"], "a used one, and one from before");
    }
    assert!(!ada.is_in(), "whoever was in is out");
    town.try_log_in("ada@example.net", PASSWORD).refused(403, 104);
    town.log_in("ada@example.net", OTHER);

    let late = ask();
    town.lab.set_clock(NOW + 3600);
    assert_eq!(set(&late, PASSWORD).refused(400, 102), ["/token"]);
}

#[test]
fn a_changed_password_ends_the_other_sessions() {
    let town = Town::new(config(Signup::Open));
    town.account("ada@example.net", PASSWORD);
    let (here, there) = (town.log_in("ada@example.net", PASSWORD), town.log_in("ada@example.net", PASSWORD));
    let change =
        |old: &str, new: &str| here.send("PATCH", "accounts/me/", Some(&json!({"old_password": old, "password": new})));
    assert_eq!(change(OTHER, PASSWORD).refused(400, 102), ["/old_password"]);
    assert!(there.is_in());
    assert_eq!(change(PASSWORD, OTHER).status, 200);
    assert!(here.is_in() && !there.is_in());
    assert_eq!(town.letter().0, "ada@example.net", "and is told so");
    town.log_in("ada@example.net", OTHER);
}

#[test]
fn sessions_are_seen_and_ended() {
    let town = Town::new(config(Signup::Open));
    for email in ["ada@example.net", "bob@example.net"] {
        town.account(email, PASSWORD);
    }
    let body = json!({"email": "ada@example.net", "password": PASSWORD}).to_string().into_bytes();
    let agent = [("User-Agent", "Lynx/2.9")];
    assert_eq!(town.lab.call_with("POST", "/api/v2/accounts/login/", &agent, Some(body)).status, 200);
    let (ada, other) = (town.log_in("ada@example.net", PASSWORD), town.log_in("ada@example.net", PASSWORD));
    let bob = town.log_in("bob@example.net", PASSWORD);
    let list = ada.get("accounts/sessions/").json();
    assert_eq!(list["count"], 3);
    let sessions = list["results"].as_array().unwrap();
    let lynx = sessions.iter().find(|session| session["user_agent"] == "Lynx/2.9").unwrap();
    assert_eq!(sessions.iter().filter(|session| session["is_current"] == true).count(), 1);
    let end = |browser: &Browser<'_>| {
        browser.send("DELETE", &format!("accounts/sessions/{}/", lynx["id"].as_str().unwrap()), None)
    };
    end(&bob).refused(404, 104);
    assert_eq!(end(&ada).status, 204);
    end(&ada).refused(404, 104);
    assert_eq!(ada.send("DELETE", "accounts/sessions/", None).status, 204);
    assert!(ada.is_in() && !other.is_in() && bob.is_in());
    town.lab.set_clock(NOW + 30 * 86_400);
    assert!(!ada.is_in(), "a month is the end");
}

#[test]
fn by_invitation() {
    let town = Town::new(config(Signup::Invite));
    let lab = &town.lab;
    lab.runtime.block_on(lab.catalog.add_account("ada@example.net", lab.api.clock.now())).unwrap().unwrap();
    assert_eq!(town.post("password-reset", &json!({"email": "ada@example.net"})).status, 202);
    let reset = json!({"token": token(&town.letter().1), "password": PASSWORD});
    assert_eq!(town.post("password-reset/confirm", &reset).status, 200, "the operator's account gets its password");
    let ada = town.log_in("ada@example.net", PASSWORD);

    assert_eq!(town.sign_up("bob@example.net", PASSWORD).refused(400, 102), ["/invite"]);
    let invited = ada.send("POST", "accounts/invites/", Some(&json!({"email": "Bob@example.net"})));
    assert_eq!(invited.status, 201, "{invited:?}");
    let invite = invited.json()["token"].as_str().unwrap().to_owned();
    let (to, text) = town.letter();
    assert_eq!((to.as_str(), token(&text)), ("bob@example.net", invite.clone()));
    ada.send("POST", "accounts/invites/", Some(&json!({"email": "cyd@example.net"}))).refused(403, 104);
    assert!(!ada.get("accounts/invites/").text.contains(&invite), "it is shown once");

    let with = |email: &str, invite: &str| {
        town.post("signup", &json!({"email": email, "password": PASSWORD, "consent": "1", "invite": invite}))
    };
    assert_eq!(with("eve@example.net", &invite).refused(400, 102), ["/invite"], "it is for another address");
    assert_eq!(with("bob@example.net", "nonsense").refused(400, 102), ["/invite"]);
    assert_eq!(with("bob@example.net", &invite).status, 202);
    assert_eq!(town.post("verify", &json!({"token": token(&town.letter().1)})).status, 201);
    assert_eq!(with("bob@example.net", &invite).refused(400, 102), ["/invite"], "it is used");
    assert_eq!(ada.get("accounts/invites/").json()["results"][0]["is_used"], true);
    town.log_in("bob@example.net", PASSWORD);
}

#[test]
fn a_closed_network_takes_nobody() {
    let town = Town::new(config(Signup::Closed));
    town.sign_up("ada@example.net", PASSWORD).refused(403, 104);
    assert_eq!(town.lab.get("/api/v2/accounts/signup/").json()["signup"], "closed");
    assert!(town.letters().is_empty());
}

#[test]
fn guessing_a_password_ends_soon() {
    let town = Town::new(config(Signup::Open));
    town.account("ada@example.net", PASSWORD);
    let mut refused = None;
    for _ in 0..20 {
        let reply = town.try_log_in("ada@example.net", OTHER);
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
        assert_eq!(reply.status, 403);
    }
    let refused = refused.unwrap();
    assert_eq!(refused.headers["retry-after"], "6");
    town.try_log_in("ADA@example.net", PASSWORD).refused(429, 104);
    town.try_log_in("bob@example.net", PASSWORD).refused(403, 104);
    town.lab.set_clock(NOW + 6);
    assert_eq!(town.try_log_in("ada@example.net", PASSWORD).status, 200);
}

#[test]
fn nobody_is_flooded_with_mail() {
    let town = Town::new(config(Signup::Open));
    let mut answers = (0..10).map(|_| town.post("password-reset", &json!({"email": "ada@example.net"})).status);
    assert!(answers.any(|status| status == 429));
}

#[test]
fn a_disabled_account_is_out() {
    let town = Town::new(config(Signup::Open));
    town.account("ada@example.net", PASSWORD);
    let ada = town.log_in("ada@example.net", PASSWORD);
    let key = ada.send("POST", "keys/", Some(&json!({}))).json()["uuid"].as_str().unwrap().to_owned();
    let (lab, now) = (&town.lab, town.lab.api.clock.now());
    lab.runtime.block_on(async {
        let id = lab.catalog.account_by_email("ada@example.net").await.unwrap().unwrap().id;
        assert!(lab.catalog.set_disabled(id, Some(now)).await.unwrap());
    });
    assert!(!ada.is_in());
    town.try_log_in("ada@example.net", PASSWORD).refused(403, 104);
    lab.call("GET", "/api/v2/keys/", Some(&key), None).refused(403, 104);
}

/// Gathers everything that is logged in this process.
struct Log;

static LOGGED: Mutex<String> = Mutex::new(String::new());

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("sonde_")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = String::new();
        event.record(&mut |field: &Field, value: &dyn Debug| line += &format!("{field}={value:?} "));
        *LOGGED.lock().unwrap() += &(line + "\n");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn secrets_are_neither_in_the_data_nor_in_the_log() {
    tracing::subscriber::set_global_default(Log).unwrap();
    let town = Town::new(config(Signup::Invite));
    let lab = &town.lab;
    let ada = lab.runtime.block_on(lab.catalog.add_account("ada@example.net", lab.api.clock.now())).unwrap().unwrap();
    assert_eq!(town.post("password-reset", &json!({"email": "ada@example.net"})).status, 202);
    let reset = token(&town.letter().1);
    assert_eq!(town.post("password-reset/confirm", &json!({"token": reset, "password": PASSWORD})).status, 200);
    let browser = town.log_in(&ada.email, PASSWORD);
    let invited = browser.send("POST", "accounts/invites/", Some(&json!({"email": "bob@example.net"}))).json();
    let invite = invited["token"].as_str().unwrap();
    assert_eq!(token(&town.letter().1), invite);
    let asked = json!({"email": "bob@example.net", "password": OTHER, "consent": "1", "invite": invite});
    assert_eq!(town.post("signup", &asked).status, 202);
    let verify = token(&town.letter().1);
    let cookie = browser.cookie.split_once('=').unwrap().1;
    let secrets = [PASSWORD, OTHER, &reset, cookie, &browser.csrf, invite, &verify];
    let files = files(lab.data());
    assert!(files.iter().any(|(_, bytes)| contains(bytes, "ada@example.net")), "the right files are looked at");
    for (path, bytes) in &files {
        for secret in secrets {
            assert!(!contains(bytes, secret), "{secret} is in {}", path.display());
        }
    }
    let log = LOGGED.lock().unwrap();
    assert!(log.contains("/api/v2/accounts/login/"), "requests are logged");
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found
}
