//! Lists in parts: Atlas's envelope `{count, next, previous, results}`.

use serde_json::{Value, json};
use sonde_store::catalog::Slice;

use crate::error::ApiError;
use crate::here::Here;
use crate::params::Params;

/// How many a page has when nobody says.
const DEFAULT_SIZE: u64 = 50;
/// How many a page has at most; a greater wish is cut to it (Atlas).
pub(crate) const MAX_SIZE: u64 = 500;

/// Which page, how long, in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paging {
    page: u64,
    size: u64,
    descending: bool,
}

impl Paging {
    /// Reads `page`, `page_size` and `sort`.
    pub fn read(params: &Params) -> Result<Self, ApiError> {
        Self::read_at_most(params, MAX_SIZE)
    }

    /// As [`Paging::read`], with shorter pages, for lists whose items are large.
    pub fn read_at_most(params: &Params, most: u64) -> Result<Self, ApiError> {
        let descending = match params.get("sort") {
            None | Some("id") => false,
            Some("-id") => true,
            Some(_) => return Err(ApiError::parameter("sort", "This server sorts by id or -id.")),
        };
        Ok(Self { descending, ..Self::read_unsorted(params, most)? })
    }

    /// As [`Paging::read_at_most`], for lists that read `sort` themselves.
    pub fn read_unsorted(params: &Params, most: u64) -> Result<Self, ApiError> {
        let page = params.parsed("page")?.unwrap_or(1);
        if page == 0 {
            return Err(ApiError::parameter("page", "Pages are counted from 1."));
        }
        let size = params.parsed("page_size")?.unwrap_or(DEFAULT_SIZE).min(most);
        Ok(Self { page, size, descending: false })
    }

    /// What to ask the catalog for.
    pub fn slice(&self) -> Slice {
        let offset = (self.page - 1).saturating_mul(self.size).min(i64::MAX as u64);
        Slice { offset, limit: self.size, descending: self.descending }
    }

    /// The part of a list that is in memory already.
    pub fn cut<T>(&self, mut items: Vec<T>) -> Vec<T> {
        if self.descending {
            items.reverse();
        }
        let offset = usize::try_from(self.slice().offset).unwrap_or(usize::MAX);
        items.into_iter().skip(offset).take(self.size as usize).collect()
    }

    /// The envelope around `results`; a page past the end does not exist.
    pub fn envelope(&self, total: u64, results: Vec<Value>, here: &Here) -> Result<Value, ApiError> {
        let pages = if self.size == 0 { 1 } else { total.div_ceil(self.size).max(1) };
        if self.page > pages {
            return Err(ApiError::not_found());
        }
        let next = (self.page < pages).then(|| here.with_page(self.page + 1));
        let previous = (self.page > 1).then(|| here.with_page(self.page - 1));
        Ok(json!({ "count": total, "next": next, "previous": previous, "results": results }))
    }
}
