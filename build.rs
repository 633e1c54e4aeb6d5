//! Makes `hbeat.h` from src/ffi, and names the shared library.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

/// Where the header's items come from, in the order in which they are to be read.
const SOURCES: [&str; 13] = [
    "version",
    "status",
    "last_error",
    "policy",
    "backoff",
    "engine",
    "event",
    "key",
    "link",
    "listener",
    "progress",
    "socket",
    "stats",
];

fn main() -> Result<(), Box<dyn Error>> {
    for input in ["build.rs", "cbindgen.toml", "Cargo.toml", "src/lib.rs", "src/ffi"] {
        println!("cargo:rerun-if-changed={input}");
    }
    link_arguments()?;
    header()
}

/// Reads the listed files only: nothing is looked up, expanded or fetched.
fn header() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    let sources = SOURCES.iter().map(|name| root.join("src/ffi").join(name).with_extension("rs"));
    let builder =
        sources.fold(cbindgen::Builder::new().with_config(config), |builder, source| builder.with_src(source));
    let mut text = Vec::new();
    builder.generate()?.write(&mut text);
    let header = tidy(&String::from_utf8(text)?);
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("hbeat.h"), header)?;
    Ok(())
}

/// Puts comments of one line, which cbindgen spreads over three, on one, keeps blank lines single, and leaves out the
/// comma after a last enumerator, which C90 and C++98 do not know.
fn tidy(header: &str) -> String {
    let lines: Vec<&str> = header.trim().lines().map(str::trim_end).collect();
    let mut tidied = String::with_capacity(header.len());
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        match lines[at..] {
            ["", "", ..] => at += 1,
            [open, text, close, ..] if open.trim() == "/*" && close.trim() == "*/" => {
                let indent = &open[..open.len() - 2];
                tidied += &format!("{indent}/* {} */\n", text.trim());
                at += 3;
            }
            [last, close, ..] if last.ends_with(',') && close.starts_with('}') => {
                tidied += &format!("{}\n", last.trim_end_matches(','));
                at += 1;
            }
            _ => {
                tidied += line;
                tidied += "\n";
                at += 1;
            }
        }
    }
    tidied
}

/// The soname carries what may break programs: the major number, and the minor one as long as that is 0. A library
/// whose threads and thread-exit handlers may still run must not be unmapped by dlclose.
fn link_arguments() -> Result<(), Box<dyn Error>> {
    if env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Ok(());
    }
    let [major, minor] = [env::var("CARGO_PKG_VERSION_MAJOR")?, env::var("CARGO_PKG_VERSION_MINOR")?];
    let version = if major == "0" { format!("0.{minor}") } else { major };
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libhbeat.so.{version}");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    Ok(())
}
