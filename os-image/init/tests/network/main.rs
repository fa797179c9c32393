//! The board's network on real lines: namespaces, dnsmasq and radvd of Debian, the kernel's own tables and `nft` to look at them. Needs
//! root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod filtered;
mod line;

use std::net::IpAddr;

use sonde_os::net::{Settings, Step};

use self::line::{Board, eventually, ip, on_a_line, output, works};

/// Prefix information of 2001:db8::/64, on the link and for hosts to make addresses of, for an hour.
fn prefix() -> Vec<u8> {
    let mut option = vec![3, 4, 64, 0xc0];
    option.extend([3600_u32.to_be_bytes(), 3600_u32.to_be_bytes(), [0; 4]].concat());
    option.extend("2001:db8::".parse::<std::net::Ipv6Addr>().unwrap().octets());
    option
}

/// A resolver of a router, for so many seconds.
fn rdnss(address: &str, lifetime: u32) -> Vec<u8> {
    let octets = address.parse::<std::net::Ipv6Addr>().unwrap().octets();
    [&[25, 3, 0, 0][..], &lifetime.to_be_bytes(), &octets].concat()
}

/// 64:ff9b::/96 for half an hour.
fn pref64() -> Vec<u8> {
    let mut option = vec![38, 2];
    option.extend(1800_u16.to_be_bytes());
    option.extend([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]);
    option
}

#[test]
fn dhcp_gives_ipv4_renews_it_and_follows_the_cable() {
    on_a_line(|mut router| async move {
        let mut log = router.dnsmasq(&[
            "--dhcp-range=192.0.2.50,192.0.2.59,255.255.255.0,2m",
            "--dhcp-option=option:T1,5",
            "--dhcp-option=option:T2,60",
            "--dhcp-option=option:router,192.0.2.9",
            "--dhcp-option=option:classless-static-route,0.0.0.0/0,192.0.2.1,198.51.100.0/24,192.0.2.2",
            "--dhcp-option=option:dns-server,192.0.2.1",
            "--dhcp-option=option:mtu,1400",
        ]);
        let board = Board::start(&router, Settings::default());
        let condition = board.until("an address", |now| works(&now.address, "192.0.2.5") && now.resolver.is_ok()).await;
        assert!(works(&condition.link, "eth0 up") && condition.filter.is_ok(), "{condition:?}");
        assert_eq!(board.resolvers(), ["192.0.2.1"]);
        let routes = output("ip", "-4 route");
        assert!(
            routes.contains("default via 192.0.2.1") && routes.contains("198.51.100.0/24 via 192.0.2.2"),
            "{routes}"
        );
        assert!(!routes.contains("192.0.2.9"), "option 121 stands for the router: {routes}");
        let link = output("ip", "link show eth0");
        assert!(link.contains("mtu 1400"), "{link}");
        log.until("DHCPACK").await;
        log.until("DHCPREQUEST").await;
        log.until("DHCPACK").await;

        router.cable(false);
        let condition = board.until("no link", |now| matches!(now.link, Step::Failed(_))).await;
        assert!(condition.link.text().contains("cable") && !condition.address.is_ok(), "{condition:?}");
        assert_eq!(board.resolvers(), [""; 0]);
        assert_eq!(output("ip", "-4 addr show dev eth0"), "");
        router.cable(true);
        board.until("an address again", |now| works(&now.address, "192.0.2.5") && now.resolver.is_ok()).await;
        assert_eq!(board.resolvers(), ["192.0.2.1"]);
    });
}

#[test]
fn the_cable_may_go_into_another_port() {
    on_a_line(|mut router| async move {
        router.dnsmasq(&["--dhcp-range=192.0.2.50,192.0.2.59,255.255.255.0,2m"]);
        router.second_port();
        let board = Board::start(&router, Settings::default());
        board.until("an address", |now| works(&now.link, "eth0") && now.address.is_ok()).await;
        router.cable(false);
        board.until("the other port", |now| works(&now.link, "eth1")).await;
        let left = output("ip", "addr show dev eth0");
        assert!(!left.contains("inet"), "nothing is left of the first: {left}");
        router.cable(true);
        // It stays where it is as long as that works.
        router.call(|| ip("link set lan1 down"));
        board.until("the first port again", |now| works(&now.link, "eth0") && now.address.is_ok()).await;
    });
}

#[test]
fn a_router_gives_ipv6_alone() {
    on_a_line(|mut router| async move {
        router.radvd("prefix 2001:db8::/64 {}; RDNSS 2001:db8::53 fe80::1 { AdvRDNSSLifetime 600; };");
        let board = Board::start(&router, Settings::default());
        let condition =
            board.until("an address", |now| works(&now.address, "2001:db8::") && now.resolver.is_ok()).await;
        // The same on every start: made of the hardware address, and no temporary one beside it.
        assert_eq!(condition.address, Step::Ok("2001:db8::ff:fe00:7/64".into()));
        assert_eq!(board.resolvers(), ["2001:db8::53", "fe80::1%eth0"]);
        assert!(output("ip", "-6 route").contains("default via fe80::1"));
    });
}

#[test]
fn resolvers_go_with_their_lifetime() {
    on_a_line(|router| async move {
        let board = Board::start(&router, Settings::default());
        board.until("a link", |now| now.link.is_ok()).await;
        // The kernel heeds advertisements when its own link-local address is sure.
        let mut is_heard = false;
        while !is_heard {
            router.advertise(0, 1800, [prefix(), rdnss("2001:db8::53", 600), rdnss("2001:db8::54", 3)].concat());
            let wait = board.until("a resolver", |now| now.resolver.is_ok());
            is_heard = tokio::time::timeout(std::time::Duration::from_secs(1), wait).await.is_ok();
        }
        board.until("one resolver", |now| now.resolver == Step::Ok("2001:db8::53".into())).await;
        assert_eq!(board.resolvers(), ["2001:db8::53"]);
        router.advertise(0, 1800, [prefix(), rdnss("2001:db8::53", 0)].concat());
        board.until("no resolver", |now| !now.resolver.is_ok()).await;
        assert_eq!(board.resolvers(), [""; 0]);
    });
}

#[test]
fn dhcp_gives_ipv6_where_the_router_says_so() {
    on_a_line(|mut router| async move {
        let mut log = router.dnsmasq(&[
            "--enable-ra",
            "--dhcp-range=2001:db8::500,2001:db8::50f,64,2m",
            "--dhcp-option=option6:dns-server,[2001:db8::53]",
        ]);
        let board = Board::start(&router, Settings::default());
        board.until("an address", |now| works(&now.address, "2001:db8::50") && now.resolver.is_ok()).await;
        assert_eq!(board.resolvers(), ["2001:db8::53"]);
        let addresses = output("ip", "-6 addr show dev eth0 scope global");
        assert!(addresses.contains("/128") && !addresses.contains("forever"), "{addresses}");
        log.until("DHCPREPLY").await;
        // dnsmasq gives nothing for less than two minutes, so this takes one.
        log.until("DHCPRENEW").await;
        log.until("DHCPREPLY").await;
        // Half of its life was left; what the server has given anew is in the kernel's table a moment later.
        eventually("a longer life", || longest_life() > 90).await;
        board.until("the address still", |now| works(&now.address, "2001:db8::50")).await;
    });
}

/// How many seconds the kernel keeps the board's address from DHCPv6.
fn longest_life() -> u32 {
    let text = output("ip", "-6 addr show dev eth0 scope global");
    let (_, of_address) = text.split_once("/128").unwrap_or_default();
    let mut words = of_address.split_whitespace().skip_while(|word| *word != "valid_lft");
    words.nth(1).and_then(|word| word.strip_suffix("sec")).and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[test]
fn an_address_that_another_machine_answers_for_is_declined() {
    on_a_line(|mut router| async move {
        // A machine that has taken an address which the server thinks free: it answers ARP, on the server's own machine.
        router.call(|| ip("addr add 192.0.2.50/32 dev lo"));
        let mut log = router.dnsmasq(&[
            "--no-ping",
            "--dhcp-range=192.0.2.50,192.0.2.59,255.255.255.0,2m",
            "--dhcp-host=02:00:00:00:00:07,192.0.2.50",
        ]);
        let board = Board::start(&router, Settings::default());
        log.until("DHCPDECLINE").await;
        let addresses = output("ip", "-4 addr show dev eth0");
        assert!(!addresses.contains("192.0.2.50"), "{addresses}");
        let condition = board.until("another address", |now| works(&now.address, "192.0.2.5")).await;
        assert!(!condition.address.text().contains("192.0.2.50/"), "{condition:?}");
    });
}

#[test]
fn dhcp_names_resolvers_where_the_router_makes_addresses() {
    on_a_line(|mut router| async move {
        router.dnsmasq(&[
            "--enable-ra",
            "--dhcp-range=2001:db8::,ra-stateless",
            "--dhcp-option=option6:dns-server,[2001:db8::53]",
        ]);
        let board = Board::start(&router, Settings::default());
        board.until("a resolver", |now| now.address.is_ok() && works(&now.resolver, "2001:db8::53")).await;
        assert_eq!(board.resolvers(), ["2001:db8::53"]);
    });
}

#[test]
fn option_108_does_without_ipv4_where_there_is_nat64() {
    on_a_line(|mut router| async move {
        let mut log = router.dnsmasq(&[
            "--dhcp-range=192.0.2.50,192.0.2.59,255.255.255.0,2m",
            "--dhcp-option=108,0:0:7:8",
            "--dhcp-option=option:dns-server,192.0.2.1",
        ]);
        // Without a prefix the option means nothing.
        let board = Board::start(&router, Settings::default());
        board.until("IPv4", |now| works(&now.address, "192.0.2.5")).await;
        log.until("DHCPACK").await;
        let ra = [prefix(), pref64(), rdnss("2001:db8::53", 600)].concat();
        router.advertise(0, 1800, ra);
        board
            .until("IPv6 alone", |now| works(&now.address, "2001:db8::ff:fe00:7") && works(&now.address, "option 108"))
            .await;
        board.until("its resolver", |now| works(&now.resolver, "2001:db8::53")).await;
        assert_eq!(output("ip", "-4 addr show dev eth0"), "");
        assert_eq!(board.resolvers(), ["2001:db8::53"]);
    });
}

#[test]
fn fixed_addresses_ask_nobody() {
    on_a_line(|router| async move {
        let settings = Settings {
            interface: Some("02:00:00:00:00:07".into()),
            ipv4: Some("192.0.2.7/24".parse().unwrap()),
            gateway4: Some("192.0.2.1".parse().unwrap()),
            ipv6: Some("2001:db8::7/64".parse().unwrap()),
            gateway6: Some("fe80::1".parse().unwrap()),
            resolvers: vec!["192.0.2.53".parse::<IpAddr>().unwrap()],
            ..Settings::default()
        };
        let board = Board::start(&router, settings);
        let condition = board
            .until("both addresses", |now| works(&now.address, "192.0.2.7/24") && works(&now.address, "2001:db8::7/64"))
            .await;
        assert_eq!(condition.resolver, Step::Ok("192.0.2.53".into()));
        assert_eq!(board.resolvers(), ["192.0.2.53"]);
        let routes = [output("ip", "-4 route"), output("ip", "-6 route")].concat();
        assert!(routes.contains("default via 192.0.2.1") && routes.contains("default via fe80::1"), "{routes}");
        let sockets = output("ss", "-Hlnu");
        assert!(!sockets.contains(":68") && !sockets.contains(":546"), "{sockets}");
    });
}

#[test]
fn an_address_that_another_machine_has_is_said() {
    on_a_line(|router| async move {
        let settings = Settings { ipv6: Some("2001:db8::1/64".parse().unwrap()), ..Settings::default() };
        let board = Board::start(&router, settings);
        let condition = board.until("a duplicate", |now| matches!(now.address, Step::Failed(_))).await;
        assert!(condition.address.text().contains("2001:db8::1 belongs to another machine"), "{condition:?}");
    });
}
