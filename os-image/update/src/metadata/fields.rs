//! Members of JSON objects, read with words for what is wrong with them.

use std::collections::BTreeMap;

use crate::json::{JsonError, Value};

/// How much of a name that came from outside is repeated in an error.
const SHOWN: usize = 64;

/// A file is not metadata of TUF, or not the one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes are not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A member is missing or is not what it should be.
    #[error("`{at}` {problem}")]
    Member {
        /// Where, as a path of names.
        at: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file of another role, perhaps a well-signed one.
    #[error("it is a file of the role {found} instead of {expected}")]
    OtherRole {
        /// What was asked for.
        expected: &'static str,
        /// What it says that it is.
        found: String,
    },
    /// Written for another specification.
    #[error("it follows version {0} of TUF's specification, and only 1 is understood")]
    OtherSpecification(String),
    /// A key is not called what its content says.
    #[error("the key {listed} is in truth {computed}")]
    KeyName {
        /// What it is called.
        listed: String,
        /// What it should be called.
        computed: String,
    },
}

/// A problem with a member.
pub(crate) fn problem(at: &str, problem: &'static str) -> FormatError {
    FormatError::Member { at: at.to_owned(), problem }
}

/// Text from outside as it may stand in an error: short and without control characters.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}

/// An object and where it stands.
pub(crate) struct Object<'a> {
    pub(crate) members: &'a BTreeMap<String, Value>,
    at: &'a str,
}

impl<'a> Object<'a> {
    pub(crate) fn new(value: &'a Value, at: &'a str) -> Result<Self, FormatError> {
        match value {
            Value::Map(members) => Ok(Self { members, at }),
            _ => Err(problem(if at.is_empty() { "the file" } else { at }, "is not an object")),
        }
    }

    /// The path of a member.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    fn wrong(&self, name: &str, what: &'static str) -> FormatError {
        problem(&self.path(name), what)
    }

    pub(crate) fn member(&self, name: &str) -> Result<&'a Value, FormatError> {
        self.members.get(name).ok_or_else(|| self.wrong(name, "is missing"))
    }

    pub(crate) fn text(&self, name: &str) -> Result<&'a str, FormatError> {
        match self.member(name)? {
            Value::Text(text) => Ok(text),
            _ => Err(self.wrong(name, "is not a text")),
        }
    }

    pub(crate) fn map(&self, name: &str) -> Result<&'a BTreeMap<String, Value>, FormatError> {
        match self.member(name)? {
            Value::Map(members) => Ok(members),
            _ => Err(self.wrong(name, "is not an object")),
        }
    }

    pub(crate) fn list(&self, name: &str) -> Result<&'a [Value], FormatError> {
        match self.member(name)? {
            Value::List(items) => Ok(items),
            _ => Err(self.wrong(name, "is not a list")),
        }
    }

    /// An integer from 0.
    pub(crate) fn count(&self, name: &str) -> Result<u64, FormatError> {
        match self.member(name)? {
            Value::Integer(number) => u64::try_from(*number).map_err(|_| self.wrong(name, "is negative")),
            _ => Err(self.wrong(name, "is not an integer")),
        }
    }

    /// An integer from 1.
    pub(crate) fn positive(&self, name: &str) -> Result<u64, FormatError> {
        match self.count(name)? {
            0 => Err(self.wrong(name, "is not above 0")),
            number => Ok(number),
        }
    }

    /// A member that may be missing, read by `read` if it is there.
    pub(crate) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Self, &str) -> Result<T, FormatError>,
    ) -> Result<Option<T>, FormatError> {
        if self.members.contains_key(name) { read(self, name).map(Some) } else { Ok(None) }
    }
}
