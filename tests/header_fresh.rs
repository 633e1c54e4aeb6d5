//! `include/hbeat.h` is what the sources say, and header, library and docs/symbols.txt have the same names.

#![allow(unsafe_code, reason = "calls the C face")]

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::path::Path;

fn made() -> String {
    fs::read_to_string(Path::new(env!("OUT_DIR")).join("hbeat.h")).unwrap()
}

fn committed(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Each function of the header: its name and the comment before it.
fn functions(header: &str) -> Vec<(String, String)> {
    let mut functions = Vec::new();
    for block in header.split("/*\n").skip(1) {
        let Some((comment, code)) = block.split_once(" */\n") else {
            continue;
        };
        let line = code.lines().next().unwrap_or_default();
        let Some((start, _)) = line.split_once('(') else {
            continue;
        };
        let name = start.rsplit([' ', '*']).next().unwrap_or_default();
        if name.starts_with("hbeat_") && !line.starts_with("typedef") {
            functions.push((name.to_owned(), comment.to_owned()));
        }
    }
    functions
}

/// With HBEAT_REFRESH set, as `make header` does, it becomes so.
#[test]
fn the_header_is_fresh() {
    if std::env::var_os("HBEAT_REFRESH").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/hbeat.h"), made()).unwrap();
    }
    assert!(
        made() == committed("include/hbeat.h"),
        "include/hbeat.h is not what src/ffi and cbindgen.toml make: run `make header` and commit it"
    );
}

#[test]
fn header_and_symbol_list_name_the_same_functions() {
    let header: BTreeSet<String> = functions(&made()).into_iter().map(|function| function.0).collect();
    let list = committed("docs/symbols.txt");
    let listed: Vec<&str> = list.lines().map(|line| line.split_once(' ').expect("name since").0).collect();
    assert!(listed.is_sorted(), "docs/symbols.txt is not sorted");
    assert_eq!(header, listed.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn every_function_says_how_it_may_be_called_and_since_when() {
    let symbols = committed("docs/symbols.txt");
    for (name, comment) in functions(&made()) {
        let mut rest = comment.as_str();
        for line in ["\n Threads: ", "\n In a callback: ", "\n Blocks: ", "\n Errors: ", "\n Since: "] {
            let (_, after) =
                rest.split_once(line).unwrap_or_else(|| panic!("{name}: no line{line:?}, or not in order"));
            rest = after;
        }
        assert!(
            symbols.contains(&format!("{name} {}\n", rest.trim())),
            "{name}: Since: {rest} against docs/symbols.txt"
        );
    }
}

#[test]
fn every_status_of_the_header_has_its_name_and_a_sentence() {
    let made = made();
    let (_, body) = made.split_once("typedef enum hbeat_status_code {").unwrap();
    let (body, _) = body.split_once("} hbeat_status_code;").unwrap();
    let mut found = 0;
    for (name, value) in body.lines().filter_map(|line| line.trim().trim_end_matches(',').split_once(" = ")) {
        // SAFETY: takes a number, and what it gives lives for ever.
        let known = unsafe { CStr::from_ptr(hbeat::ffi::hbeat_status_name(value.parse().unwrap())) };
        assert_eq!(known.to_str(), Ok(name));
        found += 1;
    }
    assert_eq!(found, 24);
}
