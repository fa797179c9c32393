//! The picture of a row a probe, of the bytes that the API gives for each bin.

use std::collections::HashMap;

use data_encoding::BASE64;
use serde_json::Value;

use crate::ask::Asker;
use crate::charts::heat;
use crate::charts::svg::Svg;
use crate::page::Problem;

/// A row a probe, of the API's bytes.
pub(super) async fn heat_map(asker: &Asker, path: &str) -> Result<Option<Svg>, Problem> {
    let map = asker.get(path).await?;
    let Some(cells) = map["cells"].as_str().and_then(|text| BASE64.decode(text.as_bytes()).ok()) else {
        return Ok(None);
    };
    let bins = map["bins"].as_u64().and_then(|bins| usize::try_from(bins).ok()).unwrap_or_default();
    let probes: Vec<u64> = map["probes"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    if bins == 0 || probes.is_empty() || cells.len() != bins.saturating_mul(probes.len()) {
        return Ok(None);
    }
    let codes: HashMap<&str, f64> = ["failed", "lost", "first", "least", "factor"]
        .into_iter()
        .filter_map(|name| Some((name, map["codes"][name].as_f64()?)))
        .collect();
    let code = |name: &str| codes.get(name).copied().unwrap_or(f64::MAX);
    let cell = |byte: &u8| match f64::from(*byte) {
        byte if byte >= code("first") => {
            heat::Cell::Class(heat::class(code("least") * code("factor").powf(byte - code("first"))))
        }
        byte if byte == code("lost") => heat::Cell::Lost,
        byte if byte == code("failed") => heat::Cell::Failed,
        _ => heat::Cell::NotMeasured,
    };
    let rows: Vec<(String, Vec<heat::Cell>)> = probes
        .iter()
        .zip(cells.chunks(bins))
        .map(|(probe, row)| (format!("probe {probe}"), row.iter().map(cell).collect()))
        .collect();
    Ok(Some(heat::heat(&rows, "Each probe’s round-trip times over time, a row a probe. Darker is slower.")))
}

/// The classes of the heat map and their words.
pub(crate) fn heat_legend() -> Vec<(String, String)> {
    let names = crate::charts::palette::legend(&heat::SPLITS, "ms");
    names.into_iter().enumerate().map(|(class, name)| (format!("share-{class}"), name)).collect()
}
