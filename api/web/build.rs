//! Makes of `assets/` what the program carries: each file as it is, and compressed by gzip and brotli where that is smaller.
//!
//! All files stand under one version, a digest of them all (`/assets/VERSION/js/chart.js`), so that modules find each other by
//! relative paths and browsers may keep everything for ever.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use ring::digest::{Context, SHA256};

/// Below this compression gains nothing over the wire: it is one packet anyway.
const WORTH_IT: usize = 512;

fn main() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let (root, out) = (variable("CARGO_MANIFEST_DIR")?.join("assets"), variable("OUT_DIR")?);
    println!("cargo::rerun-if-changed=assets");
    println!("cargo::rerun-if-changed=build.rs");
    let mut names = Vec::new();
    list(&root, &root, &mut names)?;
    names.sort();
    let mut digest = Context::new(&SHA256);
    let mut table = String::from("&[\n");
    for (index, name) in names.iter().enumerate() {
        let path = root.join(name);
        let bytes = fs::read(&path)?;
        digest.update(name.as_bytes());
        digest.update(&(bytes.len() as u64).to_be_bytes());
        digest.update(&bytes);
        let gzip = embedded(&out, index, "gz", &gzip(&bytes)?, bytes.len())?;
        let brotli = embedded(&out, index, "br", &brotli(&bytes)?, bytes.len())?;
        // Writing into a string cannot fail.
        let _ = writeln!(
            table,
            "    Asset {{ name: {name:?}, plain: include_bytes!({path:?}), gzip: {gzip}, brotli: {brotli} }},"
        );
    }
    table.push(']');
    let version: String = digest.finish().as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    fs::write(out.join("assets.rs"), table)?;
    println!("cargo::rustc-env=SONDE_WEB_VERSION={version}");
    Ok(())
}

/// All files below a folder, as paths with `/`. What begins with a dot is an editor's.
fn list(root: &Path, folder: &Path, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            list(root, &path, names)?;
        } else {
            let name = path.strip_prefix(root).map_err(io::Error::other)?;
            names.push(name.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

/// The expression for a compressed form.
fn embedded(out: &Path, index: usize, ending: &str, bytes: &[u8], plain: usize) -> io::Result<String> {
    if plain < WORTH_IT || bytes.len() >= plain {
        return Ok("None".into());
    }
    let path = out.join(format!("{index}.{ending}"));
    fs::write(&path, bytes)?;
    Ok(format!("Some(include_bytes!({path:?}))"))
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn brotli(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let parameters = brotli::enc::BrotliEncoderParams { quality: 11, ..Default::default() };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut io::Cursor::new(bytes), &mut compressed, &parameters)?;
    Ok(compressed)
}
