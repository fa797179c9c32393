//! What `/api/v2/openapi.json` says of the parameters of queries. The lists stand here, one for each set that handlers read
//! together, so that `params(…)` of a handler is one word.
//!
//! A handler that reads a parameter that its document does not name panics in builds with debug assertions
//! ([`crate::params`]), so that no test passes which meets one.

use std::collections::BTreeSet;
use std::sync::Arc;

use utoipa::IntoParams;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Required, Schema};

use crate::probe_uptime::WINDOW_NAMES;

/// What values a parameter takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// Any text.
    Text,
    /// A whole number that is not negative.
    Number,
    /// A whole number between these.
    Between(u32, u32),
    /// A number, perhaps with a fraction.
    Decimal,
    /// Yes or no.
    Flag,
    /// Unix seconds or ISO 8601.
    Time,
    /// Numbers and ranges such as `10-20`, with commas between.
    Numbers,
    /// 4 or 6.
    Family,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// A parameter, or several that differ in their endings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query {
    name: &'static str,
    endings: &'static [&'static str],
    form: Form,
    what: &'static str,
    required: bool,
}

const fn query(name: &'static str, form: Form, what: &'static str) -> Query {
    Query { name, endings: &[""], form, what, required: false }
}

impl Query {
    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn with(mut self, endings: &'static [&'static str]) -> Self {
        self.endings = endings;
        self
    }

    fn parameters(&self) -> impl Iterator<Item = Parameter> {
        self.endings.iter().map(|ending| {
            ParameterBuilder::new()
                .name(format!("{}{ending}", self.name))
                .parameter_in(ParameterIn::Query)
                .required(if self.required { Required::True } else { Required::False })
                .description(Some(self.what))
                .schema(Some(self.form.schema()))
                .build()
        })
    }
}

impl Form {
    fn schema(self) -> Schema {
        let object = ObjectBuilder::new();
        let object = match self {
            Form::Text => object.schema_type(Type::String),
            Form::Number => object.schema_type(Type::Integer).minimum(Some(0)),
            Form::Between(least, most) => object.schema_type(Type::Integer).minimum(Some(least)).maximum(Some(most)),
            Form::Decimal => object.schema_type(Type::Number),
            Form::Flag => object.schema_type(Type::Boolean),
            Form::Time => object.schema_type(Type::String).pattern(Some(TIME)),
            Form::Numbers => object.schema_type(Type::String).pattern(Some(NUMBERS)),
            Form::Family => object.schema_type(Type::Integer).enum_values(Some([4, 6])),
            Form::OneOf(words) => object.schema_type(Type::String).enum_values(Some(words.iter().copied())),
        };
        Schema::Object(object.build())
    }
}

const TIME: &str = "^([0-9]{1,10}|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z?)?)$";
const NUMBERS: &str = "^[0-9]{1,9}(-[0-9]{1,9})?(,[0-9]{1,9}(-[0-9]{1,9})?)*$";

/// Endings that compare, beside the name alone.
const COMPARED: &[&str] = &["", "__lt", "__lte", "__gt", "__gte"];
/// Endings of texts.
const TEXTS: &[&str] = &["", "__contains", "__startswith", "__endswith"];
const OR_LISTED: &[&str] = &["", "__in"];

const PAGE: &[Query] = &[
    query("page", Form::Number, "Which page, from 1"),
    query("page_size", Form::Number, "How many on a page: 50, at most 500; 0 for the count alone"),
];
const BY_ID: &[Query] = &[query("sort", Form::OneOf(&["id", "-id"]), "By number, ascending or descending")];
const FIELDS: &[Query] = &[query("fields", Form::Text, "Only these, with commas between; `id` and `type` always stay")];
const OPTIONAL_FIELDS: &[Query] = &[query(
    "optional_fields",
    Form::Text,
    "These too: probes, probe_sources, participation_requests, current_probes, participant_logs, is_active",
)];
const DATETIME: &[Query] = &[query(
    "format[datetime]",
    Form::OneOf(&["unix", "timestamp", "iso-8601", "json"]),
    "In which form times are written",
)];
const MEASUREMENTS: &[Query] = &[
    query("id", Form::Numbers, "Its number"),
    query("id", Form::Number, "Its number").with(&["__lt", "__lte", "__gt", "__gte"]),
    query("id__in", Form::Numbers, "One of these"),
    query("start_time", Form::Time, "When it begins").with(COMPARED),
    query("start_time__in", Form::Text, "One of these times"),
    query("stop_time", Form::Time, "When it ends or ended").with(COMPARED),
    query("stop_time__in", Form::Text, "One of these times"),
    query("interval", Form::Number, "Seconds between runs").with(COMPARED),
    query("interval__in", Form::Text, "One of these, with commas between"),
    query("status", Form::Text, "States by number or name, with commas between").with(OR_LISTED),
    query(
        "type",
        Form::OneOf(&["ping", "traceroute", "dns", "sslcert", "http", "ntp", "pathmtu", "ipv6", "wifi"]),
        "Its kind; nobody here has any of wifi",
    ),
    query("af", Form::Family, "The family of the target"),
    query("is_oneoff", Form::Flag, "Once, or periodic"),
    query("is_public", Form::Flag, "For everybody, or only for you"),
    query("mine", Form::Flag, "Your own; needs a key"),
    query("search", Form::Text, "In the description or the target, in any case"),
    query("target", Form::Text, "The target as it was written, in any case").with(TEXTS),
    query("target_name", Form::Text, "The same").with(TEXTS),
    query("description", Form::Text, "In any case").with(TEXTS),
    query("protocol", Form::Text, "ICMP, UDP or TCP, where the kind has a choice").with(TEXTS),
    query("target_ip", Form::Text, "An address or a prefix that the target's first address is in"),
    query("target_address", Form::Text, "The same"),
    query("target_asn", Form::Text, "ASes, with commas between"),
    query("tags", Form::Text, "It has all of these, with commas between"),
    query("current_probes", Form::Numbers, "One of these probes has an order of it"),
    query("group", Form::Text, "A group by its number or address"),
    query("group_id", Form::Text, "The same by number"),
    query(
        "sort",
        Form::Text,
        "By id, start_time, stop_time, is_oneoff, interval, type, af, status.name or status.id; several with commas \
         between, each with a - before it for descending",
    ),
];
const PROBES: &[Query] = &[
    query("id", Form::Numbers, "Its number").with(OR_LISTED),
    query("id", Form::Number, "Its number").with(&["__lt", "__lte", "__gt", "__gte"]),
    query("country_code", Form::Text, "Two letters (ISO 3166), in any case").with(OR_LISTED),
    query("asn", Form::Text, "The AS of either address; several with commas between").with(OR_LISTED),
    query("asn_v4", Form::Text, "The AS of the IPv4 address").with(OR_LISTED),
    query("asn_v6", Form::Text, "The AS of the IPv6 address").with(OR_LISTED),
    query("prefix", Form::Text, "Has an address in this prefix; others' count as their /24 or /48"),
    query("prefix_v4", Form::Text, "The same of IPv4"),
    query("prefix_v6", Form::Text, "The same of IPv6"),
    query("status", Form::Text, "States by number or name, with commas between").with(OR_LISTED),
    query("status_name", Form::Text, "The same").with(OR_LISTED),
    query("is_anchor", Form::Flag, "Anchors, or others"),
    query("is_public", Form::Flag, "Those that everybody may see whole, or others"),
    query("tags", Form::Text, "It has all of these, with commas between"),
    query("radius", Form::Text, "`latitude,longitude:kilometres`; others' places count as they are shown"),
    query("latitude", Form::Decimal, "Degrees; others' places count as they are shown").with(COMPARED),
    query("longitude", Form::Decimal, "Degrees; others' places count as they are shown").with(COMPARED),
    query("firmware_version", Form::Number, "What `firmware_version` says"),
    query("first_connected", Form::Time, "When it was first connected").with(COMPARED),
    query("last_connected", Form::Time, "When it was last seen").with(COMPARED),
    query("favourite", Form::Flag, "Nobody here has marked any"),
    query("hidden", Form::Flag, "Nobody here has marked any"),
    query(
        "sort",
        Form::Text,
        "By id, country_code, asn_v4, asn_v6, status, status_since, first_connected, last_connected or is_public; several \
         with commas between, each with a - before it for descending",
    ),
];
const WINDOW: &[Query] = &[query(
    "window",
    Form::OneOf(WINDOW_NAMES),
    "The last day in quarters of an hour (24h), or the last 90 days by days",
)];
const ANCHORS: &[Query] = &[
    query("country", Form::Text, "Two letters (ISO 3166)"),
    query("search", Form::Text, "In the host name, the city or the company"),
    query("as_v4", Form::Number, "The AS of the IPv4 address"),
    query("as_v6", Form::Number, "The AS of the IPv6 address"),
    query("ip_v4", Form::Text, "Its IPv4 address; others' are not found"),
    query("ip_v6", Form::Text, "Its IPv6 address; others' are not found"),
];
const INCLUDE: &[Query] =
    &[query("include", Form::Text, "Shown in place: `target`, `measurement`, with commas between")];
const RESULTS: &[Query] = &[query("start", Form::Time, "Not before this"), query("stop", Form::Time, "Not after this")];
const OF_PROBES: &[Query] = &[
    query("probe_ids", Form::Numbers, "Of these probes"),
    query("anchors-only", Form::Flag, "Of anchors"),
    query("anchors_only", Form::Flag, "The same"),
    query("public-only", Form::Flag, "Of probes that show their addresses to everybody"),
    query("public_only", Form::Flag, "The same"),
];
const NEWEST: &[Query] = &[
    query("versions", Form::Between(1, 10), "How many of each probe (1)"),
    query("lookback_days", Form::Number, "How old at most (7); 0 for any age, with probe_ids alone"),
];
const FORMAT: &[Query] = &[query("format", Form::OneOf(&["json", "txt"]), "One array, or one object on each line")];

const TAGS: &[Query] = &[query("tag__startswith", Form::Text, "How the tag begins")];

const METRICS: &[Query] = &[query("by", Form::OneOf(&["probe"]), "With a line for each probe; up to 500 of them")];
const STATUS_CHECK: &[Query] = &[
    query("max_packet_loss", Form::Decimal, "More percent lost than this is an alert (75)"),
    query("show_all", Form::Flag, "Show the RTTs of probes that do not alert, too"),
    query("permitted_total_alerts", Form::Number, "So many probes may alert before all do (0)"),
    query("lookback", Form::Between(1, 100), "How many results per probe are looked at (1)"),
    query("median_rtt_threshold", Form::Decimal, "A newest RTT so many ms above the median is an alert"),
];
const SUMMARY: &[Query] = &[
    query("bins", Form::Between(1, 500), "How many bins at most (100)"),
    query(
        "metric",
        Form::OneOf(&[
            "rtt", "rtt_avg", "rtt_max", "loss", "failed", "hops", "reached", "rcode", "status", "offset", "stratum",
            "mtu",
        ]),
        "Which number of each result; `rtt`, or what the kind has",
    ),
];
const PATHS: &[Query] = &[
    query("time", Form::Time, "Each probe's newest result that is not after this (now)"),
    query("by", Form::OneOf(&["address", "as"]), "What the nodes are: `address`, or `as` for networks"),
];

const IPV6_TIME: &[Query] = &[
    query(
        "from",
        Form::Time,
        "The first hour (24 hours before `to`); eight days before it at most, one where it is longer ago",
    ),
    query("to", Form::Time, "Before this hour (the one that has not begun)"),
];
const IPV6_SERIES: &[Query] = &[
    query("step", Form::OneOf(&["hour", "day"]), "How far the points are apart (hour)"),
    query("country", Form::Text, "Of this country (ISO 3166)"),
    query("asn", Form::Text, "Of this network, by the number of its AS"),
    query("prefix", Form::Text, "Of this prefix, such as 2001:db8::/32: up to /48, or /24 of IPv4"),
    query("from", Form::Time, "Where it begins (24 hours or 90 days before `to`)"),
    query("to", Form::Time, "Before this hour (the one that has not begun)"),
];
const IPV6_COMPARE: &[Query] = &[
    query("a", Form::Text, "`world`, two letters of a country, `AS` and a number, or a prefix").required(),
    query("b", Form::Text, "The same").required(),
];
const IPV6_COUNTRY: &[Query] = &[query("country", Form::Text, "As far as it is in this country (ISO 3166)")];
const IPV6_PREFIXES: &[Query] = &[
    query("af", Form::Family, "Of IPv6 (6) or of IPv4"),
    query("prefix", Form::Text, "In this one, such as 2001:db8::/32: up to /48, or /24 of IPv4"),
    query("length", Form::Between(8, 48), "How long each is: /48, or /24 of IPv4, unless it is said"),
];
const IPV6_METRICS: &[Query] = &[
    query("asn", Form::Text, "This network too, by the number of its AS"),
    query("prefix", Form::Text, "This prefix too, such as 2001:db8::/32: up to /48, or /24 of IPv4"),
];
const IPV6_SORT: &[Query] = &[query(
    "sort",
    Form::OneOf(&["id", "-id", "probes", "-probes", "works6", "-works6"]),
    "By name or number, by probes, or by the share that works (those that may be ranked come first)",
)];
const TABLE: &[Query] = &[query("format", Form::OneOf(&["json", "csv"]), "An object, or a table")];

macro_rules! sets {
    ($($(#[$what:meta])* $name:ident = $($part:expr),+;)*) => {$(
        $(#[$what])*
        #[derive(Debug)]
        pub(crate) struct $name;
        impl IntoParams for $name {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                [$($part),+].concat().iter().flat_map(Query::parameters).collect()
            }
        }
    )*};
}

sets! {
    /// Of a list that is cut into pages.
    Pages = PAGE;
    /// The same, by number in either direction.
    PagesById = PAGE, BY_ID;
    /// Of a list of measurements.
    MeasurementList = MEASUREMENTS, PAGE, FIELDS, OPTIONAL_FIELDS, DATETIME;
    /// Of one measurement.
    OneMeasurement = FIELDS, OPTIONAL_FIELDS, DATETIME;
    /// Of a list by number whose items have times.
    DatedPages = PAGE, BY_ID, DATETIME;
    /// Of something that has times.
    Dated = DATETIME;
    /// Of tags.
    TagList = TAGS, PAGE;
    /// Of a list of probes.
    ProbeList = PROBES, PAGE, FIELDS, OPTIONAL_FIELDS, DATETIME;
    /// Of probes on a map.
    ProbePlaces = PROBES;
    /// Of when a probe was connected.
    ProbeUptime = WINDOW;
    /// Of one probe.
    OneProbe = FIELDS, OPTIONAL_FIELDS, DATETIME;
    /// Of the measurements that run on a probe.
    ProbeMeasurements = PAGE, BY_ID, FIELDS, OPTIONAL_FIELDS, DATETIME;
    /// Of a list of anchors.
    AnchorList = ANCHORS, PAGE, BY_ID, FIELDS, OPTIONAL_FIELDS;
    /// Of one anchor.
    OneAnchor = FIELDS, OPTIONAL_FIELDS;
    /// Of a list of anchors' measurements.
    AnchorMeasurementList = INCLUDE, PAGE, BY_ID;
    /// Of one of them.
    OneAnchorMeasurement = INCLUDE;
    /// Of results.
    AllResults = RESULTS, OF_PROBES, FORMAT;
    /// Of the newest results.
    LatestResults = NEWEST, OF_PROBES, FORMAT;
    /// Of the same in their older form.
    LatestByProbe = NEWEST, OF_PROBES;
    /// Of the look at all results of a measurement at once.
    MeasurementSummary = RESULTS, OF_PROBES, SUMMARY, TABLE;
    /// The same as a picture of bytes.
    MeasurementHeat = RESULTS, OF_PROBES, SUMMARY;
    /// Of the paths to a target.
    MeasurementPaths = PATHS, OF_PROBES;
    /// Of runs that did not take place.
    SkippedRuns = RESULTS, OF_PROBES;
    /// Of the look at a ping measurement.
    StatusCheck = STATUS_CHECK;
    /// Of a sum of votes on IPv6.
    Ipv6Sum = IPV6_TIME, TABLE;
    /// Of a list of such sums.
    Ipv6List = IPV6_TIME, IPV6_SORT, TABLE;
    /// Of the networks among them.
    Ipv6Networks = IPV6_TIME, IPV6_COUNTRY, IPV6_SORT, TABLE, PAGE;
    /// Of the prefixes among them.
    Ipv6Prefixes = IPV6_TIME, IPV6_PREFIXES, IPV6_SORT, TABLE, PAGE;
    /// Of the last hour for Prometheus.
    Ipv6Metrics = IPV6_METRICS;
    /// Of such sums one after the other.
    Ipv6Series = IPV6_SERIES, TABLE;
    /// Of two of them.
    Ipv6Compare = IPV6_COMPARE, IPV6_TIME;
    /// Of the map.
    Ipv6Map = IPV6_TIME;
    /// Of the numbers for Prometheus.
    Metrics = METRICS;
}

/// The names of all parameters that the operations of a path have.
#[derive(Debug, Clone)]
pub(crate) struct Documented {
    path: String,
    names: Arc<BTreeSet<String>>,
}

impl Documented {
    /// Of these operations of a path.
    pub fn of<'a>(path: &str, operations: impl IntoIterator<Item = &'a Operation>) -> Self {
        let parameters = operations.into_iter().flat_map(|operation| operation.parameters.iter().flatten());
        let named = parameters.filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(parameter.name.clone()),
            RefOr::Ref(_) => None,
        });
        // The key is among the ways to authenticate.
        Self { path: path.to_owned(), names: Arc::new(named.chain(["key".to_owned()]).collect()) }
    }

    /// Panics, where debug assertions are on, when this parameter is not among them.
    pub fn expects(&self, name: &str) {
        debug_assert!(
            self.names.contains(name),
            "{} reads the parameter {name:?}, which its `params(…)` does not name",
            self.path
        );
    }
}
