//! What `measurements/` can be filtered and sorted by: Atlas's parameters, read into the catalog's words.

use std::net::IpAddr;

use ipnet::IpNet;
use sonde_protocol::ids::{Asn, MeasurementId, ProbeId};
use sonde_protocol::net::Family;
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Limit, MeasurementFilter, MeasurementOrder, NumberField, Status, TextField, TextMatch};
use sonde_store::view::Viewer;

use crate::error::ApiError;
use crate::params::Params;
use crate::times;

/// The longest text that is searched for, in bytes.
const MAX_SEARCH: usize = 200;

/// The most tags, numbers or sort keys one parameter may name: a query is read whole for each.
const MAX_NAMES: usize = 500;

/// The most keys of an order.
const MAX_KEYS: usize = 9;

/// Texts that can be filtered by: the parameter, and what it is about.
const TEXTS: &[(&str, TextField)] = &[
    ("target", TextField::Target),
    ("target_name", TextField::Target),
    ("description", TextField::Description),
    ("protocol", TextField::Protocol),
];

/// How a text parameter's ending reads.
const ENDINGS: &[(&str, TextMatch)] = &[
    ("", TextMatch::Is),
    ("__contains", TextMatch::Contains),
    ("__startswith", TextMatch::StartsWith),
    ("__endswith", TextMatch::EndsWith),
];

/// The measurements that a viewer may know of, in the store's words.
pub(crate) fn visible_to(viewer: Viewer) -> Option<Option<sonde_protocol::ids::AccountId>> {
    match viewer {
        Viewer::Operator => None,
        Viewer::Account(account) => Some(Some(account)),
        Viewer::Public => Some(None),
    }
}

/// Reads the filters of a list and its order. `kind` is the one that the path names.
pub(crate) fn read(
    params: &Params,
    viewer: Viewer,
    kind: Option<Kind>,
    now: UnixNanos,
) -> Result<MeasurementFilter, ApiError> {
    let ids = match params.ids("id__in")? {
        None => params.ids("id")?,
        some => some,
    };
    let mut filter = MeasurementFilter {
        ids: ids.map(|ids| ids.into_iter().map(MeasurementId).collect()),
        visible_to: visible_to(viewer),
        kind,
        is_oneoff: params.flag("is_oneoff")?,
        is_public: params.flag("is_public")?,
        status: statuses(params)?.map(|states| (states, now)),
        search: text(params, "search")?,
        order: order(params, now)?,
        ..MeasurementFilter::default()
    };
    types(params, kind, &mut filter)?;
    if let Some(number) = params.parsed("af")? {
        let family = Family::from_number(number);
        filter.af = Some(family.ok_or_else(|| ApiError::parameter("af", "The address family is 4 or 6."))?);
    }
    if params.flag("mine")? == Some(true) {
        let account =
            viewer.account().ok_or_else(|| ApiError::forbidden("Authentication credentials were not provided."))?;
        filter.owner = Some(account);
    }
    numbers(params, now, &mut filter)?;
    for &(name, field) in TEXTS {
        for &(ending, how) in ENDINGS {
            if let Some(words) = text(params, &format!("{name}{ending}"))? {
                filter.texts.push((field, how, words));
            }
        }
    }
    target(params, &mut filter)?;
    if let Some(tags) = params.csv("tags") {
        if tags.len() > MAX_NAMES {
            return Err(ApiError::parameter("tags", format!("At most {MAX_NAMES} tags can be named.")));
        }
        filter.tags = tags.into_iter().map(str::to_ascii_lowercase).collect();
    }
    filter.current_probes = params.ids("current_probes")?.map(|ids| ids.into_iter().map(ProbeId).collect());
    for name in ["group_id", "group"] {
        let Some(words) = params.get(name) else { continue };
        // A group is named by its number or by the address of its page.
        let number = words.trim_end_matches('/').rsplit('/').next().and_then(crate::params::parse_id);
        let number = number.ok_or_else(|| ApiError::parameter(name, "Enter the number of a group."))?;
        filter.group = Some(MeasurementId(number));
    }
    Ok(filter)
}

fn text(params: &Params, name: &str) -> Result<Option<String>, ApiError> {
    match params.get(name) {
        Some(text) if text.len() > MAX_SEARCH => {
            Err(ApiError::parameter(name, format!("Enter at most {MAX_SEARCH} bytes.")))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

fn types(params: &Params, kind: Option<Kind>, filter: &mut MeasurementFilter) -> Result<(), ApiError> {
    match params.get("type") {
        None => {}
        // Nobody here has such measurements.
        Some("wifi") => filter.ids = Some(Vec::new()),
        Some(name) => match name.to_ascii_lowercase().parse() {
            Ok(named) if kind.is_none_or(|kind| kind == named) => filter.kind = Some(named),
            Ok(_) => filter.ids = Some(Vec::new()),
            Err(()) => return Err(ApiError::parameter("type", "This is not a type of measurement.")),
        },
    }
    Ok(())
}

/// The numbers with their suffixes.
fn numbers(params: &Params, now: UnixNanos, filter: &mut MeasurementFilter) -> Result<(), ApiError> {
    let fields = [
        ("id", NumberField::Id),
        ("start_time", NumberField::Start),
        ("stop_time", NumberField::Stop(now)),
        ("interval", NumberField::Interval),
    ];
    for (name, field) in fields {
        let is_time = name.ends_with("_time");
        let one = |parameter: &str| -> Result<Option<i64>, ApiError> {
            if is_time { params.time(parameter) } else { params.parsed(parameter) }
        };
        type Make = fn(i64) -> Limit;
        let suffixes: [(&str, Make); 5] = [
            ("", |number| Limit::OneOf(vec![number])),
            ("__lt", Limit::Below),
            ("__lte", Limit::AtMost),
            ("__gt", Limit::Above),
            ("__gte", Limit::AtLeast),
        ];
        for (suffix, limit) in suffixes {
            // `id` alone is read above, where it may be a list.
            if (name, suffix) == ("id", "") {
                continue;
            }
            if let Some(number) = one(&format!("{name}{suffix}"))? {
                filter.limits.push((field, limit(number)));
            }
        }
        let parameter = format!("{name}__in");
        if name != "id"
            && let Some(words) = params.csv(&parameter)
        {
            let number = |word: &str| if is_time { times::from_text(word) } else { word.parse().ok() };
            let numbers: Option<Vec<i64>> = words.into_iter().map(number).collect();
            let numbers = numbers.filter(|numbers| numbers.len() <= MAX_NAMES);
            let numbers = numbers.ok_or_else(|| {
                ApiError::parameter(&parameter, format!("Enter at most {MAX_NAMES} numbers, separated by commas."))
            })?;
            filter.limits.push((field, Limit::OneOf(numbers)));
        }
    }
    Ok(())
}

/// What is said of the target's address.
fn target(params: &Params, filter: &mut MeasurementFilter) -> Result<(), ApiError> {
    for name in ["target_ip", "target_address"] {
        let Some(words) = params.get(name) else { continue };
        let address = words.parse::<IpAddr>().map(IpNet::from);
        let network = address.or_else(|_| words.parse::<IpNet>());
        let network = network.map_err(|_| ApiError::parameter(name, "Enter an address or a prefix."))?;
        filter.target_in = Some((network.addr(), network.prefix_len()));
    }
    if let Some(words) = params.csv("target_asn") {
        let number = |word: &str| word.trim_start_matches(['A', 'S', 'a', 's']).parse().ok().map(Asn);
        let asns: Option<Vec<Asn>> = words.into_iter().map(number).collect();
        let asns = asns.filter(|asns| asns.len() <= MAX_NAMES);
        filter.target_asn =
            Some(asns.ok_or_else(|| ApiError::parameter("target_asn", "Enter numbers of ASes, separated by commas."))?);
    }
    Ok(())
}

fn order(params: &Params, now: UnixNanos) -> Result<Vec<(MeasurementOrder, bool)>, ApiError> {
    let words = params.csv("sort").unwrap_or_default();
    if words.len() > MAX_KEYS {
        return Err(ApiError::parameter("sort", format!("At most {MAX_KEYS} keys can be named.")));
    }
    let key = |word: &str| {
        let (name, descending) = word.strip_prefix('-').map_or((word, false), |name| (name, true));
        let key = match name {
            "id" => MeasurementOrder::Id,
            "start_time" => MeasurementOrder::Start,
            "stop_time" => MeasurementOrder::Stop(now),
            "is_oneoff" => MeasurementOrder::IsOneoff,
            "interval" => MeasurementOrder::Interval,
            "type" => MeasurementOrder::Kind,
            "af" => MeasurementOrder::Af,
            "status.id" | "status" => MeasurementOrder::StatusNumber(now),
            "status.name" => MeasurementOrder::StatusName(now),
            _ => return None,
        };
        Some((key, descending))
    };
    let keys: Option<Vec<_>> = words.into_iter().map(key).collect();
    keys.ok_or_else(|| {
        ApiError::parameter(
            "sort",
            "Lists are sorted by id, start_time, stop_time, is_oneoff, interval, type, af, status.name or status.id, each \
             with a - before it for descending.",
        )
    })
}

/// The states that `status` or `status__in` name, by number or by name in any case.
fn statuses(params: &Params) -> Result<Option<Vec<Status>>, ApiError> {
    for parameter in ["status__in", "status"] {
        let Some(words) = params.csv(parameter) else { continue };
        let mut states = Vec::new();
        for word in words {
            // An older name of 8.
            let word = if word.eq_ignore_ascii_case("Archived") { "Denied" } else { word };
            let is = |status: &Status| word == status.number().to_string() || word.eq_ignore_ascii_case(status.name());
            match Status::ALL.into_iter().find(is) {
                Some(status) => states.push(status),
                None => return Err(ApiError::parameter(parameter, "This is not a status.")),
            }
        }
        return Ok(Some(states));
    }
    Ok(None)
}
