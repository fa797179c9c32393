//! What every bus must do.

use std::sync::Arc;

use sonde_protocol::ids::ProbeId;
use sonde_protocol::time::UnixNanos;

use super::Fixture;
use crate::bus::{Bus, Heard, Listener, ProbeStatus, Published};

fn event(number: u64) -> Arc<Published> {
    let status = ProbeStatus { probe: ProbeId(number), connected: true, at: UnixNanos(0), controller: "here".into() };
    Arc::new(Published::Status(status))
}

async fn hear(listener: &mut Box<dyn Listener>, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        assert_eq!(listener.next().await, Some(Heard::Event(event(number))));
    }
}

/// Everybody hears everything that is published after they began to listen, in its order.
pub(super) async fn everybody_hears_everything_in_order(fixture: &impl Fixture<dyn Bus>) {
    let bus = fixture.open().await;
    bus.publish(event(1));
    let mut first = bus.subscribe();
    bus.publish(event(2));
    let mut second = bus.subscribe();
    for number in 3..=100 {
        bus.publish(event(number));
    }
    hear(&mut first, 2..=100).await;
    hear(&mut second, 3..=100).await;
}

/// Nobody is disturbed by one who leaves or by one who never takes anything; and the bus's end is everybody's.
pub(super) async fn others_come_and_go(fixture: &impl Fixture<dyn Bus>) {
    let bus = fixture.open().await;
    let mut stays = bus.subscribe();
    let _asleep = bus.subscribe();
    let leaves = bus.subscribe();
    bus.publish(event(1));
    drop(leaves);
    bus.publish(event(2));
    hear(&mut stays, 1..=2).await;
    bus.publish(event(3));
    drop(bus);
    hear(&mut stays, 3..=3).await;
    assert_eq!(stays.next().await, None);
}
