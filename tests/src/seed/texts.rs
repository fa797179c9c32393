//! Texts as people write them, and as those write them who want a page to break.

/// Would run on a page that does not escape.
pub const SCRIPT: &str = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">";

/// Ends an attribute, and a script's JSON.
pub const QUOTES: &str = "\"'></title></script><b onmouseover=\"alert(1)\">& &lt;</b>{{7*7}} ${7*7} \\u003c";

/// Right to left, with an override that would turn the rest of the line round.
pub const RIGHT_TO_LEFT: &str = "المسبار في المكتب \u{202e}gnirts desrever";

/// Emoji of several code points, and characters that pile up.
pub const EMOJI: &str = "👩‍👩‍👧‍👦 🇳🇱 Z͑ͫ̓ͪ̂ͫ̽a̴l̷g̸o̵ 测量 Ω";

/// Who has the anchors.
pub const COMPANY: &str = "Müller & Søn <Networks>";

/// One word that does not fit into a line.
pub fn long() -> String {
    "Donaudampfschifffahrtsgesellschaft".repeat(8).chars().take(255).collect()
}

/// What the owner of the probe of this number says of it.
pub fn description(n: u32) -> String {
    match n % 60 {
        0 => SCRIPT.into(),
        1 => QUOTES.into(),
        2 => RIGHT_TO_LEFT.into(),
        3 => EMOJI.into(),
        5 => long(),
        rest => {
            let places =
                ["Attic", "Cellar rack", "Living room", "Office, 2nd floor", "Rack B12", "Parents' house", "Library"];
            format!("{} {}", places.get(rest as usize % places.len()).unwrap_or(&"Shelf"), n + 1)
        }
    }
}
