//! What is said of probes, by their owners and by the operator's files, and how many say the same.

use std::net::{Ipv4Addr, Ipv6Addr};

use rusqlite::{Connection, params};
use sonde_protocol::ids::ProbeId;

use super::super::damaged;
use super::super::filter::Filter;
use super::boards;
use super::probes::tag_probe;
use crate::catalog::{Page, ProbeEdit, ProbeOrigin, Ranking, Slice};
use crate::view::snapped;

pub(super) fn edit(db: &Connection, id: ProbeId, edit: &ProbeEdit) -> rusqlite::Result<()> {
    let probe = id.0.cast_signed();
    if let Some(description) = &edit.description {
        db.prepare_cached("UPDATE probe SET description = ? WHERE id = ?")?.execute(params![description, probe])?;
    }
    if let Some(is_public) = edit.address_is_public {
        db.prepare_cached("UPDATE probe SET address_is_public = ? WHERE id = ?")?.execute(params![is_public, probe])?;
    }
    if let Some(country) = &edit.country {
        let country = country.as_ref().map(|code| code.to_uppercase());
        db.prepare_cached("UPDATE probe SET country = ?1, country_given = ?1 IS NOT NULL WHERE id = ?2")?
            .execute(params![country, probe])?;
    }
    if let Some(place) = edit.place {
        let on_grid = place.map(snapped);
        db.prepare_cached(
            "UPDATE probe SET latitude = ?, longitude = ?, latitude_snapped = ?, longitude_snapped = ? WHERE id = ?",
        )?
        .execute(params![
            place.map(|place| place.0),
            place.map(|place| place.1),
            on_grid.map(|place| place.0),
            on_grid.map(|place| place.1),
            probe
        ])?;
    }
    if let Some(choice) = edit.updates {
        boards::choose(db, id, choice)?;
    }
    if let Some(tags) = &edit.tags
        && db.prepare_cached("SELECT 1 FROM probe WHERE id = ?")?.exists([probe])?
    {
        db.prepare_cached("DELETE FROM probe_tag WHERE probe = ? AND tag NOT LIKE 'system-%'")?.execute([probe])?;
        for tag in tags.iter().filter(|tag| !tag.starts_with("system-")) {
            tag_probe(db, id, tag, true)?;
        }
    }
    Ok(())
}

pub(super) fn set_origins(db: &Connection, origins: &[ProbeOrigin]) -> rusqlite::Result<()> {
    for origin in origins {
        let probe = origin.probe.0.cast_signed();
        if let Some((v4, v6)) = origin.asns {
            db.prepare_cached("UPDATE probe SET asn_v4 = ?, asn_v6 = ? WHERE id = ?")?.execute(params![
                v4.map(|asn| asn.0),
                v6.map(|asn| asn.0),
                probe
            ])?;
        }
        if let Some(country) = &origin.country {
            let country = country.as_ref().map(|code| code.to_uppercase());
            db.prepare_cached("UPDATE probe SET country = ? WHERE id = ? AND country_given = 0")?
                .execute(params![country, probe])?;
        }
    }
    Ok(())
}

pub(super) fn tags(db: &Connection, slice: Slice) -> rusqlite::Result<Page<(String, u64)>> {
    let mut all = Filter::default();
    // Sorted by the tag, which stands for an id here.
    all.order_by("id", slice.descending, []);
    all.page(db, "id, probes", "(SELECT tag AS id, count(*) AS probes FROM probe_tag GROUP BY tag)", slice, |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
    })
}

pub(super) fn ranking(db: &Connection, by: Ranking, limit: u64) -> rusqlite::Result<Vec<(String, u64)>> {
    let key = match by {
        Ranking::AsnV4 => "CAST(asn_v4 AS TEXT)",
        Ranking::AsnV6 => "CAST(asn_v6 AS TEXT)",
        Ranking::Country => "country",
        // The family's digit, and four bits a digit.
        Ranking::NetworkV4 => "substr(address_v4_key, 1, 7)",
        Ranking::NetworkV6 => "substr(address_v6_key, 1, 13)",
    };
    let name = |key: String| -> rusqlite::Result<String> {
        let digits = || u64::from_str_radix(key.get(1..).unwrap_or_default(), 16).map_err(damaged);
        Ok(match by {
            Ranking::NetworkV4 => format!("{}/24", Ipv4Addr::from_bits((digits()? << 8) as u32)),
            Ranking::NetworkV6 => format!("{}/48", Ipv6Addr::from_bits(u128::from(digits()?) << 80)),
            _ => key,
        })
    };
    let mut statement = db.prepare_cached(&format!(
        "SELECT {key} AS name, count(*) AS probes FROM probe WHERE connected = 1 AND vouched AND name IS NOT NULL
         GROUP BY name ORDER BY probes DESC, name LIMIT ?"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map([limit], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))?;
    rows.map(|row| row.and_then(|(key, probes)| Ok((name(key)?, probes)))).collect()
}
