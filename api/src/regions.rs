//! Areas and regions: which countries they are.
//!
//! Sub-regions and continents are those of the United Nations (M49, "Standard country or area codes for statistical use"),
//! the regions of the RIRs those that the registries list, `eu27` the European Union since 2020. Where exactly Atlas draws the
//! borders of its five areas is not public; ours follow the sub-regions, see [`AREAS`].
//!
//! A probe is where its country is: what owners or tables say of it is public, and no place has to be known.

/// The sub-regions: the name, the continent, the countries (ISO 3166-1, and XK, which many tables use).
const SUBREGIONS: [(&str, &str, &str); 23] = [
    ("northern_africa", "africa", "DZ EG LY MA SD TN EH"),
    ("eastern_africa", "africa", "IO BI KM DJ ER ET TF KE MG MW MU YT MZ RE RW SC SO SS UG TZ ZM ZW"),
    ("middle_africa", "africa", "AO CM CF TD CG CD GQ GA ST"),
    ("southern_africa", "africa", "BW SZ LS NA ZA"),
    ("western_africa", "africa", "BJ BF CV CI GM GH GN GW LR ML MR NE NG SH SN SL TG"),
    ("caribbean", "americas", "AI AG AW BS BB BQ VG KY CU CW DM DO GD GP HT JM MQ MS PR BL KN LC MF VC SX TT TC VI"),
    ("central_america", "americas", "BZ CR SV GT HN MX NI PA"),
    ("south_america", "americas", "AR BO BV BR CL CO EC FK GF GY PY PE GS SR UY VE"),
    ("northern_america", "americas", "BM CA GL PM US"),
    ("antarctica", "antarctica", "AQ"),
    ("central_asia", "asia", "KZ KG TJ TM UZ"),
    ("eastern_asia", "asia", "CN HK MO KP JP MN KR TW"),
    ("south_eastern_asia", "asia", "BN KH ID LA MY MM PH SG TH TL VN"),
    ("southern_asia", "asia", "AF BD BT IN IR MV NP PK LK"),
    ("western_asia", "asia", "AM AZ BH CY GE IQ IL JO KW LB OM QA SA PS SY TR AE YE"),
    ("eastern_europe", "europe", "BY BG CZ HU PL MD RO RU SK UA"),
    ("northern_europe", "europe", "AX DK EE FO FI GG IS IE IM JE LV LT NO SJ SE GB"),
    ("southern_europe", "europe", "AL AD BA HR GI GR VA IT MT ME MK PT SM RS SI ES XK"),
    ("western_europe", "europe", "AT BE FR DE LI LU MC NL CH"),
    ("australia_and_new_zealand", "oceania", "AU CX CC HM NZ NF"),
    ("melanesia", "oceania", "FJ NC PG SB VU"),
    ("micronesia", "oceania", "GU KI MH FM NR MP PW UM"),
    ("polynesia", "oceania", "AS CK PF NU PN WS TK TO TV WF"),
];

/// Atlas's areas by its spelling, in lower case, and the sub-regions or continents that they are here.
const AREAS: [(&str, &[&str]); 5] = [
    ("west", &["americas"]),
    ("north-central", &["europe"]),
    ("south-central", &["africa", "western_asia", "antarctica"]),
    ("north-east", &["central_asia", "eastern_asia", "southern_asia"]),
    ("south-east", &["south_eastern_asia", "oceania"]),
];

/// The RIRs, the countries that each lists.
const AFRINIC: &str = "DZ EG LY MA SD TN EH BI KM DJ ER ET KE MG MW MU YT MZ RE RW SC SO SS UG TZ ZM ZW AO CM CF TD CG CD GQ \
    GA ST BW SZ LS NA ZA BJ BF CV CI GM GH GN GW LR ML MR NE NG SN SL TG";
const APNIC: &str = "IO TF CN HK MO KP JP MN KR TW BN KH ID LA MY MM PH SG TH TL VN AF BD BT IN MV NP PK LK AU CX CC NZ NF FJ NC \
    PG SB VU GU KI MH FM NR MP PW AS CK PF NU PN WS TK TO TV WF";
const ARIN: &str = "AI AQ AG BS BB BM BV CA KY DM GD GP HM JM MQ MS PR BL SH KN LC MF PM VC TC US UM VG VI";
const LACNIC: &str = "AR AW BZ BO BQ BR CL CO CR CU CW DO EC SV FK GF GT GY HT HN MX NI PA PY PE GS SR SX TT UY VE";
const RIPENCC: &str = "AL AD AM AT AX AZ BH BY BE BA BG HR CY CZ DK EE FO FI FR GE DE GI GR GL GG VA HU IS IR IQ IE IM IL IT JE JO KZ \
    KW KG LV LB LI LT LU MT MD MC ME NL MK NO OM PS PL PT QA RO RU SM SA RS SK SI ES SJ SE CH SY TJ TR TM UA AE GB UZ XK YE";

const EU27: &str = "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE";

/// The countries of an area other than the whole world, by its name in any case.
pub(crate) fn area(name: &str) -> Option<Vec<String>> {
    let name = name.to_ascii_lowercase();
    let (_, parts) = AREAS.iter().find(|(known, _)| *known == name)?;
    Some(parts.iter().filter_map(|part| region(part)).flatten().collect())
}

/// The countries of a region, by its name in any case, words parted by `_`, `-` or spaces.
pub(crate) fn region(name: &str) -> Option<Vec<String>> {
    let name = name.to_ascii_lowercase().replace(['-', ' '], "_");
    let list = |countries: &str| countries.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let named = match name.as_str() {
        "afrinic" => Some(AFRINIC),
        "apnic" => Some(APNIC),
        "arin" => Some(ARIN),
        "lacnic" => Some(LACNIC),
        "ripencc" => Some(RIPENCC),
        "eu27" => Some(EU27),
        _ => None,
    };
    if let Some(countries) = named {
        return Some(list(countries));
    }
    let fits = |(part, continent, _): &&(&str, &str, &str)| *part == name || *continent == name;
    let countries: Vec<String> = SUBREGIONS.iter().filter(fits).flat_map(|(_, _, countries)| list(countries)).collect();
    (!countries.is_empty()).then_some(countries)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn set(countries: Vec<String>) -> BTreeSet<String> {
        let (count, set) = (countries.len(), BTreeSet::from_iter(countries));
        assert_eq!(count, set.len(), "a country twice");
        set
    }

    #[test]
    fn every_country_is_in_one_of_each() {
        let continents = ["africa", "americas", "antarctica", "asia", "europe", "oceania"];
        let world = set(continents.iter().flat_map(|name| region(name).unwrap()).collect());
        // ISO 3166-1 has 249, and XK.
        assert_eq!(world.len(), 250);
        assert!(world.iter().all(|code| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase())));
        let rirs = ["afrinic", "apnic", "arin", "lacnic", "ripencc"];
        assert_eq!(set(rirs.iter().flat_map(|name| region(name).unwrap()).collect()), world);
        let areas = ["West", "North-Central", "South-Central", "North-East", "South-East"];
        assert_eq!(set(areas.iter().flat_map(|name| area(name).unwrap()).collect()), world);
        let eu = set(region("EU27").unwrap());
        assert_eq!(eu.len(), 27);
        assert!(eu.is_subset(&set(region("ripencc").unwrap())));
    }

    #[test]
    fn names_in_any_spelling() {
        assert_eq!(region("Western Europe"), region("western_europe"));
        assert_eq!(region("south-eastern_asia").unwrap().len(), 11);
        assert_eq!(area("north-EAST"), area("North-East"));
        assert_eq!((region("moon"), region(""), area("WW"), area("europe")), (None, None, None, None));
    }
}
