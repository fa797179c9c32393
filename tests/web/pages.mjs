// Every page of the site, in one table. A new page is a line here.
//
// path: where it is. says: what its main part says without a script, as text or as an expression. curve: it has a curve that arrows
// move along. status: of the answer, when it is not 200.

export function pages({ measurements: m, probes: p }) {
  return [
    { name: "front", path: "/", says: ["IPv6", /\d+(\.\d+)? %/, /probes/, /networks/], curve: true },
    { name: "ipv6", path: "/ipv6", says: ["IPv6", /DE\b|Germany/, /\d+(\.\d+)? %/], curve: true },
    { name: "country", path: "/country/DE", says: [/Germany|DE/, /\d+(\.\d+)? %/, /networks/], curve: true },
    { name: "country-few", path: "/country/LI", says: [/LI|Liechtenstein/] },
    { name: "country-none", path: "/country/AQ", says: [/AQ|Antarctica|\w/], status: 404 },
    { name: "network", path: "/as/4200000000", says: ["AS4200000000"], curve: true },
    { name: "compare", path: "/compare?a=DE&b=FR", says: [/DE|Germany/, /FR|France/] },
    { name: "method", path: "/docs/method", says: [/Wilson|interval/] },
    { name: "api", path: "/docs/api", says: ["/api/v2/measurements/"] },
    { name: "status", path: "/status", says: [/\w/] },
    { name: "join", path: "/join", says: [/probe/] },
    { name: "probes", path: "/probes", says: [/\d+ probes|probes/, /Connected/i] },
    { name: "probes-search", path: "/probes?country=DE", says: ["DE"] },
    { name: "probe", path: `/probes/${p.connected}`, says: [String(p.connected), /connected/i, /works/i] },
    { name: "probe-broken", path: `/probes/${p.broken ?? p.connected}`, says: [/IPv6/] },
    { name: "probe-gone", path: `/probes/${p.gone}`, says: [/disconnected|gone/i] },
    { name: "probe-never", path: `/probes/${p.never}`, says: [/never/i] },
    { name: "measurements", path: "/measurements", says: ["ping", "traceroute", String(m.ping)] },
    { name: "measurements-search", path: "/measurements?type=dns", says: ["dns", String(m.dns)] },
    { name: "ping", path: `/measurements/${m.ping}`, says: ["ams.example.net", /ms/, /Definition/] },
    { name: "ping6", path: `/measurements/${m.ping6}`, says: ["ams.example.net", "IPv6"] },
    { name: "traceroute", path: `/measurements/${m.traceroute}`, says: ["sin.example.net", /hop/i] },
    { name: "paths", path: `/measurements/${m.traceroute}/paths`, says: [/hop/i] },
    { name: "dns", path: `/measurements/${m.dns}`, says: ["NOERROR", "21.7.1.80"] },
    { name: "resolvers", path: `/measurements/${m.resolvers}`, says: ["NOERROR"] },
    { name: "sslcert", path: `/measurements/${m.sslcert}`, says: ["sjc.example.net", /2026/] },
    { name: "http", path: `/measurements/${m.http}`, says: ["200"] },
    { name: "ntp", path: `/measurements/${m.ntp}`, says: ["ams.example.net"] },
    { name: "pathmtu", path: `/measurements/${m.pathmtu}`, says: ["1500"] },
    { name: "silent", path: `/measurements/${m.silent}`, says: ["gone.example.net"] },
    { name: "once", path: `/measurements/${m.once}`, says: ["sin.example.net"] },
    { name: "once-failed", path: `/measurements/${m["once-failed"]}`, says: ["gone.example.net"] },
    { name: "scheduled", path: `/measurements/${m.scheduled}`, says: [/Scheduled/i] },
    { name: "script", path: `/measurements/${m.script}`, says: ["<script>document.title='taken'</script>"] },
    { name: "quotes", path: `/measurements/${m.quotes}`, says: ["{{7*7}} ${7*7}"] },
    { name: "rtl", path: `/measurements/${m.rtl}`, says: ["المسبار"] },
    { name: "emoji", path: `/measurements/${m.emoji}`, says: ["👩‍👩‍👧‍👦"] },
    { name: "long", path: `/measurements/${m.long}`, says: ["Donaudampfschifffahrtsgesellschaft"] },
    { name: "new", path: "/new", says: [/Target/, /API key/] },
    { name: "sign-in", path: "/sign-in", says: [/Password/] },
    { name: "sign-up", path: "/sign-up", says: [/sign/i] },
    { name: "verify", path: "/verify", says: [/Token/] },
    { name: "password-reset", path: "/password-reset", says: [/Token/, /New password/] },
    { name: "no-such-page", path: "/no/such/page", says: [/no such page/i], status: 404 },
    { name: "no-such-measurement", path: "/measurements/999999999", says: [/\w/], status: 404 },
    { name: "private-measurement", path: `/measurements/${m.private}`, says: [/\w/], status: 404 },
  ];
}

// The kinds of screen and colours that every page is looked at with.
export const SCREENS = [
  { name: "phone", viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true },
  { name: "desktop", viewport: { width: 1280, height: 900 } },
];
export const COLOURS = ["light", "dark"];
