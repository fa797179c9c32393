//! Packets of many sizes to a reference and back, and eight thousand bytes over TCP each way. What size comes next is the
//! [`Search`]'s to say.

use std::net::SocketAddr;
use std::time::Duration;

use sonde_engine::ipv6::gather::Event;
use sonde_engine::ipv6::paths::LEAST_MTU;
use sonde_engine::ipv6::plan::PathPlan;
use sonde_engine::ipv6::search::{Fate, Search};
use sonde_protocol::bounded::Bytes;
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::{Family, Ip};
use sonde_protocol::reference::echo::Token;
use sonde_protocol::reference::{Ask, MAX_PADDING};
use sonde_protocol::result::ipv6::{Attempt, SizesSeen, TooBig};
use tokio::time::timeout;

use super::asking::{Asking, Became, Wanted};
use super::tools::Tools;
use crate::net::datagrams::{Datagrams, Fit};

/// A search takes no longer: in either direction at most five sizes are lost, four packets a second apart each.
const LONGEST: Duration = Duration::from_secs(40);

/// Tries both directions and tells what was found until the run's end.
pub async fn check(tools: &Tools<'_>, plan: &PathPlan) {
    let (mut up, mut down) = (Search::new(), Search::new());
    let (mut bulk_up, mut bulk_down) = (None, None);
    let dst = SocketAddr::new(plan.dst, plan.port);
    let with_token = async {
        let Some((port, key)) = plan.tls else { return };
        let tls = SocketAddr::new(plan.dst, port);
        // Without a small exchange there is no token, and that long ones hang would say nothing.
        let Ok(seen) = tools.ask(tls, key, &Ask::default()).await else { return };
        let padding = Bytes::new(vec![0; MAX_PADDING]).unwrap_or_default();
        let want = u16::try_from(MAX_PADDING).unwrap_or(u16::MAX);
        let questions = [Ask { padding, want: 0 }, Ask { want, ..Ask::default() }];
        tokio::join!(
            async { bulk_up = Some(bulk(tools, tls, key, &questions[0]).await) },
            async { bulk_down = Some(bulk(tools, tls, key, &questions[1]).await) },
            from_reference(tools, dst, seen.token, &mut down),
        );
    };
    let both = async {
        tokio::join!(to_reference(tools, dst, &mut up), with_token);
    };
    // What is known by then counts.
    let _ = timeout(tools.limit(LONGEST), both).await;
    let (up, down) = (up.into_tries(), down.into_tries());
    if !(up.is_empty() && down.is_empty() && bulk_up.is_none() && bulk_down.is_none()) {
        let (target, af) = (plan.target, Family::of(plan.dst));
        tools.tell(Event::Sizes(SizesSeen { target, af, up, down, bulk_up, bulk_down }));
    }
}

async fn bulk(tools: &Tools<'_>, dst: SocketAddr, key: PublicKey, question: &Ask) -> Attempt {
    let began = tools.clock().monotonic();
    match tools.ask(dst, key, question).await {
        Ok(_) => {
            let took = tools.clock().monotonic().since(began);
            Attempt::Done(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
        }
        Err(trouble) => Attempt::Failed(trouble),
    }
}

/// Long requests, short replies.
async fn to_reference(tools: &Tools<'_>, dst: SocketAddr, search: &mut Search) {
    let Ok(socket) = Datagrams::open(dst, Fit::Whole, None) else { return };
    let mut asking = Asking::new(tools, dst, socket, None);
    let least = asking.least();
    let wanted = |up| Wanted { up, down: least, in_pieces: false };
    while let Some(size) = search.next_size() {
        let enough = |became: &Became| (became.back.is_some() || became.too_big.is_some()) && became.control.is_some();
        let Ok(became) = asking.both(wanted(size), wanted(beside(size, least)), enough).await else { return };
        search.handle(Fate {
            arrived: became.back.is_some(),
            control_arrived: became.control.is_some(),
            too_big: became.too_big,
        });
    }
}

/// Short requests, long replies. That one was too big is told to the reference, which tells us in a later reply.
async fn from_reference(tools: &Tools<'_>, dst: SocketAddr, token: Token, search: &mut Search) {
    let Ok(socket) = Datagrams::open(dst, Fit::Whole, None) else { return };
    let mut asking = Asking::new(tools, dst, socket, Some(token));
    while let Some(size) = search.next_size() {
        let least = asking.least();
        let wanted = |down| Wanted { up: asking.least_for(down), down, in_pieces: false };
        let (wanted, control) = (wanted(size), wanted(beside(size, least)));
        let enough = |became: &Became| became.back.is_some() && became.control.is_some();
        let Ok(became) = asking.both(wanted, control, enough).await else { return };
        // The token is for another address than the one that UDP comes from: what is asked for is not to be had.
        let is_shorter = |back: &super::asking::Back, wanted: Wanted| back.size < wanted.down;
        if became.back.as_ref().is_some_and(|back| is_shorter(back, wanted))
            || became.control.as_ref().is_some_and(|back| is_shorter(back, control))
        {
            return;
        }
        let complaint = became.complaint.filter(|told| u32::from(told.mtu) < size);
        search.handle(Fate {
            arrived: became.back.is_some(),
            control_arrived: became.control.is_some(),
            too_big: complaint.map(|told| TooBig { from: Some(Ip(told.from)), mtu: Some(told.mtu.into()) }),
        });
    }
}

/// The size of the small packet beside one: what every link must take, and less beside that itself.
const fn beside(size: u32, least: u32) -> u32 {
    if size > LEAST_MTU { LEAST_MTU } else { least }
}
