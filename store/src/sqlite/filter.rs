//! Conditions of a list, and the part of the list that somebody wants. The text of a condition is always ours; what
//! callers ask for is bound to it.

use std::borrow::Cow;
use std::net::IpAddr;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use crate::catalog::{Limit, Page, Slice};

/// Conditions that must all hold.
#[derive(Default)]
pub(super) struct Filter {
    conditions: Vec<Cow<'static, str>>,
    values: Vec<Value>,
    /// What comes before `id` in the order, and its values.
    order: String,
    order_values: Vec<Value>,
    /// The order names the id itself.
    ordered: bool,
    /// What was added to the order last descends, and so do the numbers of rows that are alike: one index then does for the
    /// order in both directions.
    descends: bool,
}

/// The statements of one page of a list, with what both bind and what only the second does.
pub(super) struct Statements {
    /// How long the whole list is.
    pub(super) count: String,
    /// The page. Binds the limit and the offset last.
    pub(super) page: String,
    values: Vec<Value>,
    order_values: Vec<Value>,
}

impl Filter {
    /// Adds a condition, with a value for each `?` in it.
    pub(super) fn and(&mut self, condition: impl Into<Cow<'static, str>>, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.into());
        self.values.extend(values);
    }

    /// A condition on a whole number, `column`, which itself binds `values`. `is_time`: it is kept in nanoseconds and limited
    /// in seconds, compared so that its index is of use: a second begins with its first nanosecond.
    pub(super) fn limit(&mut self, column: &str, mut values: Vec<Value>, limit: &Limit, is_time: bool) {
        let begin = |seconds: i64| if is_time { seconds.saturating_mul(1_000_000_000) } else { seconds };
        let after = |number: i64| begin(number.saturating_add(1));
        let (comparison, value) = match limit {
            Limit::Below(number) => ("< ?", Value::from(begin(*number))),
            Limit::AtLeast(number) => (">= ?", Value::from(begin(*number))),
            Limit::AtMost(number) => ("< ?", Value::from(after(*number))),
            Limit::Above(number) => (">= ?", Value::from(after(*number))),
            Limit::OneOf(numbers) => (
                match is_time {
                    true => "/ 1000000000 IN (SELECT value FROM json_each(?))",
                    false => "IN (SELECT value FROM json_each(?))",
                },
                Value::Text(serde_json::Value::from(numbers.as_slice()).to_string()),
            ),
        };
        values.push(value);
        self.and(format!("{column} {comparison}"), values);
    }

    /// Sorts by this first, then by what is added later, at last by `id` in the direction of the last.
    pub(super) fn order_by(&mut self, key: &str, descending: bool, values: impl IntoIterator<Item = Value>) {
        if self.ordered {
            return;
        }
        self.order.push_str(key);
        self.order.push_str(if descending { " DESC" } else { " ASC" });
        self.order_values.extend(values);
        self.descends = descending;
        match key {
            "id" => self.ordered = true,
            _ => self.order.push_str(", "),
        }
    }

    /// What lists the rows of `from` that meet the conditions; `descending` is the order of their numbers if there is no
    /// other.
    pub(super) fn statements(self, columns: &str, from: &str, descending: bool) -> Statements {
        let conditions = where_all(&self.conditions);
        let direction = if descending || self.descends { "DESC" } else { "ASC" };
        let last = if self.ordered { String::new() } else { format!("id {direction}") };
        Statements {
            count: format!("SELECT count(*) FROM {from} {conditions}"),
            page: format!("SELECT {columns} FROM {from} {conditions} ORDER BY {}{last} LIMIT ? OFFSET ?", self.order),
            values: self.values,
            order_values: self.order_values,
        }
    }

    /// What `columns` give for each group of the rows of `from` that meet the conditions, where `end` groups and orders them.
    pub(super) fn groups<T>(
        self,
        connection: &Connection,
        columns: &str,
        from: &str,
        end: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let sql = format!("SELECT {columns} FROM {from} {} {end}", where_all(&self.conditions));
        connection.prepare_cached(&sql)?.query_map(params_from_iter(&self.values), read)?.collect()
    }

    /// The part `slice` of the rows of `from` that meet the conditions, by `id`.
    pub(super) fn page<T>(
        self,
        connection: &Connection,
        columns: &str,
        from: &str,
        slice: Slice,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Page<T>> {
        let Statements { count, page, mut values, mut order_values } = self.statements(columns, from, slice.descending);
        let total: i64 = connection.prepare_cached(&count)?.query_row(params_from_iter(&values), |row| row.get(0))?;
        if slice.limit == 0 {
            return Ok(Page { total: total.cast_unsigned(), items: Vec::new() });
        }
        values.append(&mut order_values);
        values.push(clamped(slice.limit));
        values.push(clamped(slice.offset));
        let mut statement = connection.prepare_cached(&page)?;
        let items = statement.query_map(params_from_iter(&values), read)?.collect::<rusqlite::Result<_>>()?;
        Ok(Page { total: total.cast_unsigned(), items })
    }
}

fn where_all(conditions: &[Cow<'static, str>]) -> String {
    match conditions {
        [] => String::new(),
        all => format!("WHERE ({})", all.join(") AND (")),
    }
}

fn clamped(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Numbers as one bound value, for `IN (SELECT value FROM json_each(?))`. None of ours is beyond the signed range, so
/// what a caller asks for beyond it is rightly found nowhere.
pub(super) fn numbers(numbers: impl IntoIterator<Item = u64>) -> Value {
    let signed: Vec<i64> = numbers.into_iter().map(u64::cast_signed).collect();
    Value::Text(serde_json::Value::from(signed).to_string())
}

/// Texts as one bound value, as [`numbers`].
pub(super) fn texts(texts: &[String]) -> Value {
    Value::Text(serde_json::Value::from(texts).to_string())
}

/// An address as text that sorts as addresses do: the family and hexadecimal digits.
pub(super) fn address_key(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("4{:08x}", address.to_bits()),
        IpAddr::V6(address) => format!("6{:032x}", address.to_bits()),
    }
}

/// The keys of the first and the last address of a network.
pub(super) fn address_range(address: IpAddr, bits: u8) -> (String, String) {
    let (first, last) = match address {
        IpAddr::V4(address) => {
            let rest = u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
            let (first, last) = (address.to_bits() & !rest, address.to_bits() | rest);
            (IpAddr::V4(first.into()), IpAddr::V4(last.into()))
        }
        IpAddr::V6(address) => {
            let rest = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
            let (first, last) = (address.to_bits() & !rest, address.to_bits() | rest);
            (IpAddr::V6(first.into()), IpAddr::V6(last.into()))
        }
    };
    (address_key(first), address_key(last))
}
