//! Orders: the instruction to one probe to run a measurement, and the revisioned set of them that both ends keep.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::bounded::{Bytes, List};
use crate::ids::{MeasurementId, Revision};
use crate::net::{Family, Ip};
use crate::spec::{Kind, Spec, SpecError, Target};
use crate::time::UnixNanos;

/// The most orders one probe has at a time.
pub const MAX_ORDERS: usize = 2048;

/// The most addresses one order carries.
pub const MAX_ADDRESSES: usize = 8;

/// The instruction to run a measurement.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Order {
    /// The measurement.
    #[n(0)]
    pub measurement: MeasurementId,
    /// The kind's number. A probe that does not know it reports its runs as skipped.
    #[n(1)]
    pub kind: u8,
    /// The definition, as [`Spec::to_cbor`] wrote it.
    #[n(2)]
    pub spec: Bytes<4096>,
    /// The family.
    #[n(3)]
    pub af: Family,
    /// The target as it was asked for; absent for dns with the probe's own resolvers.
    #[n(4)]
    pub target: Option<Target>,
    /// The target's addresses as resolved when the measurement was made. Empty when the probe is to resolve.
    #[n(5)]
    pub addresses: List<Ip, MAX_ADDRESSES>,
    /// The probe resolves the target before every run (Atlas: `resolve_on_probe`).
    #[n(6)]
    pub resolve_on_probe: bool,
    /// When it runs.
    #[n(7)]
    pub when: When,
    /// When this probe was chosen. Runs due before it are not this probe's.
    #[n(8)]
    pub ordered_at: UnixNanos,
}

impl Order {
    /// Its definition, if this version knows the kind and its values are in range.
    pub fn spec(&self) -> Result<Spec, OrderError> {
        let kind = Kind::from_number(self.kind).ok_or(OrderError::UnknownKind(self.kind))?;
        Ok(Spec::from_cbor(kind, &self.spec)?)
    }

    /// Seconds between runs; absent for a one-off.
    pub const fn interval(&self) -> Option<u32> {
        match self.when {
            When::Periodic { interval, .. } => Some(interval),
            When::Once { .. } => None,
        }
    }
}

/// Why an order cannot be carried out as it stands.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// A newer server's kind.
    #[error("unknown kind of measurement {0}")]
    UnknownKind(u8),
    /// The definition is not usable.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// When an order runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum When {
    /// Again and again. [`crate::schedule`] says exactly when.
    #[n(0)]
    Periodic {
        /// The first interval begins here.
        #[n(0)]
        start: UnixNanos,
        /// Seconds between runs, at least 1.
        #[n(1)]
        interval: u32,
        /// Seconds over which the probes of the measurement are spread.
        #[n(2)]
        spread: u32,
        /// No run is due at or after this.
        #[n(3)]
        stop: Option<UnixNanos>,
    },
    /// Once.
    #[n(1)]
    Once {
        /// Not before; as soon as the order is there when absent.
        #[n(0)]
        start: Option<UnixNanos>,
        /// Not at or after this.
        #[n(1)]
        expires: UnixNanos,
    },
}

/// A change of a probe's order set, or the whole set.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OrdersUpdate {
    /// The revision it applies to; absent when it is a full snapshot.
    #[n(0)]
    pub base: Option<Revision>,
    /// The revision it leads to.
    #[n(1)]
    pub revision: Revision,
    /// New or changed orders; with a snapshot, all of them.
    #[n(2)]
    pub add: List<Order, MAX_ORDERS>,
    /// Measurements that are no longer wanted; empty with a snapshot.
    #[n(3)]
    pub remove: List<MeasurementId, MAX_ORDERS>,
}

/// What an update did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Orders that are new or differ from before.
    pub added: Vec<Order>,
    /// Measurements whose orders are gone, or are no longer what they were: these are also in `added`.
    pub removed: Vec<MeasurementId>,
}

/// Why an update was not applied. Either way the whole set must be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// It applies to another revision than ours.
    #[error("update applies to revision {expected}, not to ours")]
    Base {
        /// The revision the update needs.
        expected: Revision,
    },
    /// The set would grow beyond [`MAX_ORDERS`].
    #[error("too many orders")]
    TooMany,
}

/// A probe's orders, as the probe keeps them.
#[derive(Debug, Clone, Default)]
pub struct OrderBook {
    revision: Option<Revision>,
    orders: BTreeMap<MeasurementId, Order>,
}

impl OrderBook {
    /// The revision; `None` before the first update, so that the first hello asks for everything.
    pub const fn revision(&self) -> Option<Revision> {
        self.revision
    }

    /// The orders by measurement.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.orders.values()
    }

    /// One order.
    pub fn get(&self, measurement: MeasurementId) -> Option<&Order> {
        self.orders.get(&measurement)
    }

    /// Applies an update whole or not at all.
    pub fn apply(&mut self, update: OrdersUpdate) -> Result<Changes, UpdateError> {
        let mut changes = Changes::default();
        match update.base {
            None => {
                let wanted: BTreeMap<_, _> = update.add.into_iter().map(|order| (order.measurement, order)).collect();
                changes.removed = self
                    .orders
                    .values()
                    .map(|o| (o.measurement, o))
                    .filter(|(id, o)| wanted.get(id) != Some(*o))
                    .map(|(id, _)| id)
                    .collect();
                changes.added =
                    wanted.values().filter(|o| self.orders.get(&o.measurement) != Some(o)).cloned().collect();
                self.orders = wanted;
            }
            Some(base) => {
                if self.revision != Some(base) {
                    return Err(UpdateError::Base { expected: base });
                }
                if self.orders.len() + update.add.len() > MAX_ORDERS + update.remove.len() {
                    return Err(UpdateError::TooMany);
                }
                for id in update.remove {
                    if self.orders.remove(&id).is_some() {
                        changes.removed.push(id);
                    }
                }
                for order in update.add {
                    if self.orders.get(&order.measurement) != Some(&order) {
                        changes.added.push(order.clone());
                        self.orders.insert(order.measurement, order);
                    }
                }
            }
        }
        self.revision = Some(update.revision);
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::spec::PingSpec;

    fn order(id: u64) -> Order {
        Order {
            measurement: MeasurementId(id),
            kind: Kind::Ping.number(),
            spec: Bytes::new(Spec::Ping(PingSpec::default()).to_cbor()).unwrap(),
            af: Family::V6,
            target: Some(Target::cut("2001:db8::1")),
            addresses: List::default(),
            resolve_on_probe: false,
            when: When::Once { start: None, expires: UnixNanos(9) },
            ordered_at: UnixNanos(1),
        }
    }

    fn update(base: Option<u64>, revision: u64, add: &[u64], remove: &[u64]) -> OrdersUpdate {
        OrdersUpdate {
            base: base.map(Revision),
            revision: Revision(revision),
            add: List::cut(add.iter().map(|&id| order(id))),
            remove: List::cut(remove.iter().map(|&id| MeasurementId(id))),
        }
    }

    #[test]
    fn increments_apply_to_their_base_only() {
        let mut book = OrderBook::default();
        assert_eq!(book.apply(update(Some(1), 2, &[1], &[])), Err(UpdateError::Base { expected: Revision(1) }));
        assert_eq!(book.apply(update(None, 1, &[1, 2], &[])).unwrap().added.len(), 2);
        let changes = book.apply(update(Some(1), 2, &[3], &[1, 9])).unwrap();
        assert_eq!(changes.removed, vec![MeasurementId(1)]);
        assert_eq!(book.orders().map(|o| o.measurement.0).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_snapshot_replaces_also_a_higher_revision() {
        let mut book = OrderBook::default();
        book.apply(update(None, 7, &[1, 2], &[])).unwrap();
        let changes = book.apply(update(None, 3, &[2, 5], &[])).unwrap();
        assert_eq!(changes.removed, vec![MeasurementId(1)]);
        assert_eq!(changes.added.len(), 1, "an order that stayed the same is not a change");
        assert_eq!(book.revision(), Some(Revision(3)));
    }

    #[test]
    fn an_order_that_is_no_longer_what_it_was_goes_and_comes() {
        let changed = Order { ordered_at: UnixNanos(5), ..order(1) };
        for base in [None, Some(1)] {
            let mut book = OrderBook::default();
            book.apply(update(None, 1, &[1, 2], &[])).unwrap();
            let (add, remove): (&[u64], &[u64]) = if base.is_none() { (&[2], &[]) } else { (&[], &[1]) };
            let mut again = update(base, 2, add, remove);
            again.add = List::cut(again.add.into_iter().chain([changed.clone()]));
            let changes = book.apply(again).unwrap();
            assert_eq!((changes.removed, changes.added), (vec![MeasurementId(1)], vec![changed.clone()]), "{base:?}");
            assert_eq!(book.get(MeasurementId(1)), Some(&changed));
        }
    }

    #[test]
    fn an_order_of_an_unknown_kind_is_kept_and_says_so() {
        let strange = Order { kind: 200, ..order(1) };
        let back: Order = minicbor::decode(&minicbor::to_vec(&strange).unwrap()).unwrap();
        assert!(matches!(back.spec(), Err(OrderError::UnknownKind(200))));
    }
}
