//! Lists of things that are not their own form as JSON.

use serde::ser::{Serialize, SerializeSeq, Serializer};

/// A list, each item in its form as JSON.
pub(super) struct Each<'a, T, F>(pub &'a [T], pub F);

impl<'a, T, J: Serialize, F: Fn(&'a T) -> J> Serialize for Each<'a, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for item in self.0 {
            list.serialize_element(&(self.1)(item))?;
        }
        list.end()
    }
}
