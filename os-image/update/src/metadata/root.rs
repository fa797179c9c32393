//! `root.json`: which keys speak for which role. Beside what TUF says it may name the log in which releases are published.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{FormatError, Object, problem, shown};
use super::{Body, Head, RoleName};
use crate::json::Value;
use crate::key::{Key, KeyId};
use crate::log::LogKey;

/// The most keys in a root, and in a role.
const MAX_KEYS: usize = 64;

/// Our own member of a signed root: the log, as `{"key": "NAME+ID+KEY"}`.
pub(crate) const LOG: &str = "sonde_log";

/// Which keys may sign for a role, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The names of its keys.
    pub keys: BTreeSet<KeyId>,
    /// How many of them have to sign; never 0.
    pub threshold: usize,
}

/// What `root.json` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Version and expiry.
    pub head: Head,
    /// Do the names of files begin with their version or hash?
    pub consistent_snapshot: bool,
    /// All keys by their names, which are those that their content gives.
    pub keys: BTreeMap<KeyId, Key>,
    /// The four roles.
    roles: BTreeMap<RoleName, Role>,
    /// The log in which every `targets.json` must stand; without one nothing is asked.
    pub log: Option<LogKey>,
}

impl Root {
    /// A root made of these. `None` if a role is missing.
    pub fn new(
        head: Head,
        consistent_snapshot: bool,
        keys: BTreeMap<KeyId, Key>,
        roles: BTreeMap<RoleName, Role>,
        log: Option<LogKey>,
    ) -> Option<Self> {
        let whole = RoleName::ALL.iter().all(|name| roles.contains_key(name));
        whole.then_some(Self { head, consistent_snapshot, keys, roles, log })
    }

    /// The keys of a role.
    pub fn role(&self, name: RoleName) -> &Role {
        static NOBODY: Role = Role { keys: BTreeSet::new(), threshold: usize::MAX };
        // `new` and `read` see to it that all four are there; nobody could ever sign for one that is not.
        self.roles.get(&name).unwrap_or(&NOBODY)
    }

    /// Has a role lost a key since `earlier`? Then what it signed before may be somebody else's.
    pub fn has_rotated(&self, earlier: &Self, name: RoleName) -> bool {
        !earlier.role(name).keys.is_subset(&self.role(name).keys)
    }
}

impl Body for Root {
    const ROLE: RoleName = RoleName::Root;

    fn head(&self) -> Head {
        self.head
    }

    fn read(head: Head, members: &BTreeMap<String, Value>) -> Result<Self, FormatError> {
        let signed = Value::Map(members.clone());
        let signed = Object::new(&signed, "signed")?;
        let listed = signed.map("keys")?;
        if listed.len() > MAX_KEYS {
            return Err(problem("signed.keys", "has too many entries"));
        }
        let mut keys = BTreeMap::new();
        for (name, value) in listed {
            let (id, key) = Key::read(value).map_err(|what| problem(&format!("signed.keys.{}", shown(name)), what))?;
            // The specification: "Clients MUST calculate each KEYID to verify this is correct for the associated key."
            if KeyId::parse(name) != Some(id) {
                return Err(FormatError::KeyName { listed: shown(name), computed: id.to_string() });
            }
            keys.insert(id, key);
        }
        let listed = signed.map("roles")?;
        let mut roles = BTreeMap::new();
        for name in RoleName::ALL {
            let at = format!("signed.roles.{}", name.name());
            let role = listed.get(name.name()).ok_or_else(|| problem(&at, "is missing"))?;
            roles.insert(name, read_role(&Object::new(role, &at)?)?);
        }
        let consistent_snapshot = match members.get("consistent_snapshot") {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(_) => return Err(problem("signed.consistent_snapshot", "is neither true nor false")),
        };
        let log = signed.optional(LOG, |signed, name| {
            let at = signed.path(name);
            let log = Object::new(signed.member(name)?, &at)?;
            LogKey::parse(log.text("key")?)
                .ok_or_else(|| problem(&log.path("key"), "is not a key of a log, NAME+ID+KEY"))
        })?;
        Self::new(head, consistent_snapshot, keys, roles, log).ok_or_else(|| problem("signed.roles", "lacks a role"))
    }
}

fn read_role(role: &Object<'_>) -> Result<Role, FormatError> {
    let listed = role.list("keyids")?;
    if listed.len() > MAX_KEYS {
        return Err(problem(&role.path("keyids"), "has too many entries"));
    }
    let mut keys = BTreeSet::new();
    for id in listed {
        let id = match id {
            Value::Text(id) => KeyId::parse(id),
            _ => None,
        };
        let id = id.ok_or_else(|| problem(&role.path("keyids"), "has an entry that is not 64 hexadecimal digits"))?;
        if !keys.insert(id) {
            return Err(problem(&role.path("keyids"), "names a key twice"));
        }
    }
    let threshold = usize::try_from(role.positive("threshold")?).unwrap_or(usize::MAX);
    Ok(Role { keys, threshold })
}
