//! Columns of a query by their names, at no cost: rusqlite compares names for every value of every row, which for wide
//! objects takes longer than SQLite does.

/// Where `name` is among `columns`. To be asked while compiling, where a name that is missing is an error.
pub(super) const fn position(columns: &[&str], name: &str) -> usize {
    let mut at = 0;
    while at < columns.len() {
        if same(columns[at].as_bytes(), name.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("there is no such column")
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The place of a column by its name, in the `COLUMNS` of the module that asks.
macro_rules! field {
    ($name:literal) => {
        const { $crate::sqlite::columns::position(&COLUMNS, $name) }
    };
}
pub(super) use field;
