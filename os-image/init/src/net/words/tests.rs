use super::*;

const LONG: Duration = Duration::from_secs(60);

fn wired(index: u32, name: &str, has_carrier: bool) -> Link {
    let hardware = [2, 0, 0, 0, 0, u8::try_from(index).unwrap()];
    Link { index, name: name.into(), hardware, is_wired: true, is_up: true, has_carrier, ..Link::default() }
}

#[test]
fn the_first_wired_interface_with_a_link_or_the_one_that_is_asked_for() {
    let wireless = Link { is_wired: false, ..wired(2, "wlan0", true) };
    let links = [wireless, wired(3, "eth0", false), wired(4, "eth1", true), wired(5, "eth2", true)];
    let chosen = |interface: Option<&str>| {
        let settings = Settings { interface: interface.map(Into::into), ..Settings::default() };
        choose(&links, &settings, LONG).map(|link| link.name.clone()).map_err(|step| step.text().to_owned())
    };
    assert_eq!(chosen(None).unwrap(), "eth1");
    assert_eq!(chosen(Some("eth2")).unwrap(), "eth2");
    assert_eq!(chosen(Some("02:00:00:00:00:05")).unwrap(), "eth2");
    assert!(chosen(Some("eth0")).unwrap_err().contains("eth0 has no link"));
    let missing = chosen(Some("wlan0")).unwrap_err();
    assert!(
        missing.contains("no wired interface `wlan0`") && missing.contains("eth1 (02:00:00:00:00:04)"),
        "{missing}"
    );
    assert!(choose(&links[..2], &Settings::default(), LONG).unwrap_err().text().contains("cable"));
    let at_once = choose(&links[..2], &Settings::default(), Duration::ZERO);
    assert!(matches!(at_once, Err(Step::Waiting(_))), "an interface that was just switched on: {at_once:?}");
    assert!(matches!(choose(&links[..1], &Settings::default(), LONG), Err(Step::Waiting(_))));
}

#[test]
fn one_family_is_enough_and_none_is_said() {
    let address = |text: &str| Address { net: text.parse().unwrap(), is_tentative: false, is_duplicate: false };
    let default = |net: &str, router: &str| Route { net: net.parse().unwrap(), router: Some(router.parse().unwrap()) };
    let (v6, v4, near) = (address("2001:db8::7/64"), address("192.0.2.7/24"), address("fe80::7/64"));
    let (out6, out4) = (default("::/0", "fe80::1"), default("0.0.0.0/0", "192.0.2.1"));
    let said = |addresses: &[Address], routes: &[Route], seconds| {
        addresses_at(&Seen {
            addresses,
            routes,
            since: Duration::from_secs(seconds),
            trouble: None,
            is_ipv6_only: false,
            refused: [Some("it gives no netmask"), None],
        })
    };
    fn addresses_at(seen: &Seen<'_>) -> Step {
        addresses(seen)
    }
    assert_eq!(said(&[near, v6], &[out6], 1), Step::Ok("2001:db8::7/64".into()));
    assert_eq!(said(&[v4], &[out4], 1), Step::Ok("192.0.2.7/24".into()));
    assert_eq!(said(&[v6, v4], &[out6, out4], 1), Step::Ok("2001:db8::7/64, 192.0.2.7/24".into()));
    assert!(matches!(said(&[near], &[], 1), Step::Waiting(_)));
    let nothing = said(&[near], &[], 60);
    assert!(
        matches!(&nothing, Step::Failed(text) if text.contains("no address") && text.contains("DHCP answered, but it gives no netmask"))
    );
    // An address of one family with the router of the other leads nowhere.
    assert!(matches!(said(&[v6], &[out4], 60), Step::Failed(text) if text.contains("no router")));
    let tentative = Address { is_tentative: true, ..v6 };
    assert!(matches!(said(&[tentative], &[out6], 1), Step::Waiting(_)));
    let duplicate = Address { is_duplicate: true, ..v6 };
    assert!(matches!(said(&[duplicate, v4], &[out4], 1), Step::Failed(text) if text.contains("another machine")));
}

#[test]
fn a_line_without_a_resolver_is_said_after_a_while() {
    assert!(matches!(resolvers(&[], Duration::from_secs(1)), Step::Waiting(_)));
    assert!(matches!(resolvers(&[], Duration::from_secs(60)), Step::Failed(_)));
    assert_eq!(resolvers(&["fe80::1".parse().unwrap()], Duration::ZERO), Step::Ok("fe80::1".into()));
}
