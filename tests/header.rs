//! The header is the specification: it is what the sources make, compiles wherever it should, says all it has to say, and
//! agrees with the library and with docs/symbols.txt.

#![allow(unsafe_code, reason = "calls the C face")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, thread};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What cbindgen made of the sources in this very build.
fn made() -> String {
    fs::read_to_string(Path::new(env!("OUT_DIR")).join("hbeat.h")).expect("the build made a header")
}

fn scratch(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("the scratch directory can be written");
    path
}

/// A tool that is not installed is a skipped check, unless peers are required.
fn installed(tool: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        assert!(env::var("HBEAT_REQUIRE_PEERS").as_deref() != Ok("1"), "{tool} is required and not installed");
        println!("skipped: {tool} is not installed");
    }
    there
}

/// Runs a command that must succeed; its standard output.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The shared library of this very build: beside the test, or where a plain build puts it; the newest one.
fn shared_library() -> PathBuf {
    let test = env::current_exe().expect("a running program has a path");
    let deps = test.parent().expect("a program lies in a directory").to_path_buf();
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let places = [deps.join("libhbeat.so"), deps.join("../libhbeat.so"), target.join(profile).join("libhbeat.so")];
    places
        .iter()
        .filter(|place| place.exists())
        .max_by_key(|place| fs::metadata(place).and_then(|data| data.modified()).ok())
        .unwrap_or_else(|| panic!("no libhbeat.so in {places:?}: build the library first"))
        .clone()
}

/// One function of the header: its name and the comment before it.
struct Function {
    name: String,
    comment: Option<String>,
}

/// Reads the header as a sequence of comments, preprocessor lines and statements.
fn functions(header: &str) -> Vec<Function> {
    let (mut found, mut statement, mut comment) = (Vec::new(), String::new(), None);
    let mut rest = header;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("/*") {
            let end = after.find("*/").expect("a comment ends");
            if statement.trim().is_empty() {
                comment = Some(after[..end].to_owned());
            }
            rest = &after[end + 2..];
        } else if statement.trim().is_empty() && rest.starts_with('#') {
            let mut end = rest.find('\n').unwrap_or(rest.len());
            while rest[..end].ends_with('\\') {
                end += 1 + rest[end + 1..].find('\n').unwrap_or(rest.len() - end - 1);
            }
            (rest, comment) = (&rest[end..], None);
        } else {
            let next = rest.chars().next().expect("the rest is not empty");
            rest = &rest[next.len_utf8()..];
            match next {
                ';' => {
                    if let Some(name) = function_name(&statement) {
                        found.push(Function { name, comment: comment.take() });
                    }
                    (statement, comment) = (String::new(), None);
                }
                '{' | '}' => (statement, comment) = (String::new(), None),
                _ => statement.push(next),
            }
        }
    }
    found
}

/// `hbeat_status hbeat_link_close(…` is a function, `typedef void (*hbeat_log_callback)(…` is not.
fn function_name(statement: &str) -> Option<String> {
    let open = statement.find('(')?;
    let before = statement[..open].trim_end();
    let start = before.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
    let is_function = before[start..].starts_with("hbeat_") && !statement.trim_start().starts_with("typedef");
    is_function.then(|| before[start..].to_owned())
}

/// `docs/symbols.txt`: one line a symbol, name and the version that brought it.
fn symbols() -> BTreeMap<String, String> {
    let text = read("docs/symbols.txt");
    assert!(text.lines().is_sorted(), "docs/symbols.txt is not sorted");
    let mut symbols = BTreeMap::new();
    for line in text.lines() {
        let (name, since) = line.split_once(' ').unwrap_or_else(|| panic!("docs/symbols.txt: no version in {line:?}"));
        assert!(symbols.insert(name.to_owned(), since.to_owned()).is_none(), "docs/symbols.txt: {name} is there twice");
    }
    symbols
}

/// `(name, value)` of each `#define HBEAT_…` that takes no arguments and has a value.
fn constants(header: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in header.lines().filter_map(|line| line.strip_prefix("#define HBEAT_")) {
        let line = line.split("/*").next().unwrap_or(line).trim();
        if let Some((name, value)) = line.split_once(char::is_whitespace) {
            found.push((format!("HBEAT_{name}"), value.trim().to_owned()));
        }
    }
    found
}

/// With HBEAT_REFRESH set, as `make header` does, it becomes so.
#[test]
fn the_header_is_fresh() {
    if env::var_os("HBEAT_REFRESH").is_some() {
        fs::write(root().join("include/hbeat.h"), made()).expect("the header can be written");
    }
    assert!(
        made() == read("include/hbeat.h"),
        "include/hbeat.h is not what src/ffi and cbindgen.toml make: run `make header` and commit it"
    );
}

#[test]
fn the_header_compiles_in_every_language_it_promises() {
    let once = "#include \"hbeat.h\"\nint alone;\n";
    let twice = "#include \"hbeat.h\"\n#include \"hbeat.h\"\n\
        extern hbeat_engine_options options; hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;\n\
        extern hbeat_link_options link; hbeat_link_options link = HBEAT_LINK_OPTIONS_INIT;\n\
        extern hbeat_policy policy; hbeat_policy policy;\n";
    let c = ["gnu90", "c99", "c11", "c17", "c2x"];
    let cpp = ["gnu++98", "c++11", "c++14", "c++17", "c++20"];
    let compilers = [("gcc", "c", c), ("clang", "c", c), ("g++", "c++", cpp), ("clang++", "c++", cpp)];
    let sources = |language| {
        let extension = if language == "c" { "c" } else { "cpp" };
        [("once", once), ("twice", twice)].map(|(kind, text)| scratch(&format!("header_{kind}.{extension}"), text))
    };
    let (c_sources, cpp_sources) = (sources("c"), sources("c++"));
    let compile = &|compiler: &str, language: &str, standard: &str| {
        for source in if language == "c" { &c_sources } else { &cpp_sources } {
            let mut command = Command::new(compiler);
            command.args(["-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror", &format!("-std={standard}")]);
            run(command.arg("-I").arg(root().join("include")).arg(source));
        }
    };
    thread::scope(|scope| {
        for (compiler, language, standards) in compilers.into_iter().filter(|one| installed(one.0)) {
            scope.spawn(move || standards.into_iter().for_each(|standard| compile(compiler, language, standard)));
        }
    });
}

#[test]
fn header_library_and_symbol_list_have_the_same_functions() {
    let declared: Vec<String> = functions(&read("include/hbeat.h")).into_iter().map(|function| function.name).collect();
    let in_header: BTreeSet<String> = declared.iter().cloned().collect();
    assert_eq!(declared.len(), in_header.len(), "a function is declared twice");
    let from_sources: BTreeSet<String> = functions(&made()).into_iter().map(|function| function.name).collect();
    assert_eq!(in_header, from_sources, "the header that is there and the one that the sources make");
    let listed: BTreeSet<String> = symbols().into_keys().collect();
    let only_header: Vec<_> = in_header.difference(&listed).collect();
    let only_list: Vec<_> = listed.difference(&in_header).collect();
    assert!(
        only_header.is_empty() && only_list.is_empty(),
        "only in the header: {only_header:?}, only in docs/symbols.txt: {only_list:?}"
    );
    if !installed("nm") {
        return;
    }
    let exported: BTreeSet<String> = run(Command::new("nm").args(["-D", "--defined-only"]).arg(shared_library()))
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .map(|symbol| symbol.split('@').next().unwrap_or(symbol).to_owned())
        .collect();
    let only_header: Vec<_> = in_header.difference(&exported).collect();
    let only_library: Vec<_> = exported.difference(&in_header).collect();
    assert!(
        only_header.is_empty() && only_library.is_empty(),
        "only in the header: {only_header:?}, only in the library: {only_library:?}"
    );
}

#[test]
fn all_versions_agree() {
    let cargo = env!("CARGO_PKG_VERSION");
    let constants: BTreeMap<String, String> = constants(&read("include/hbeat.h")).into_iter().collect();
    let part = |name: &str| -> u32 {
        let name = format!("HBEAT_VERSION_{name}");
        let text = constants.get(&name).unwrap_or_else(|| panic!("the header has no {name}"));
        text.trim_end_matches('u').parse().unwrap_or_else(|error| panic!("{name} {text}: {error}"))
    };
    let (major, minor, patch) = (part("MAJOR"), part("MINOR"), part("PATCH"));
    assert_eq!(format!("{major}.{minor}.{patch}"), cargo.split(['-', '+']).next().unwrap_or(cargo));
    if !installed("gcc") {
        return;
    }
    let library = shared_library();
    let source = scratch(
        "version.c",
        "#include <stdio.h>\n#include \"hbeat.h\"\n\
         int main(void) { printf(\"%s %u\\n\", hbeat_version(), (unsigned)hbeat_version_number()); return 0; }\n",
    );
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("version");
    run(Command::new("gcc").arg("-I").arg(root().join("include")).arg(source).arg(&library).arg("-o").arg(&program));
    // By every name under which the loader may ask for it.
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("loaded");
    fs::create_dir_all(&directory).expect("the scratch directory can be written");
    for suffix in [String::new(), format!(".{major}"), format!(".{major}.{minor}")] {
        fs::copy(&library, directory.join(format!("libhbeat.so{suffix}"))).expect("the library can be copied");
    }
    let said = run(Command::new(program).env("LD_LIBRARY_PATH", directory));
    assert_eq!(said.trim(), format!("{cargo} {}", major * 1_000_000 + minor * 1_000 + patch));
}

#[test]
fn every_function_says_all_it_has_to_say() {
    const LABELS: [&str; 5] = ["Threads:", "In a callback:", "Blocks:", "Errors:", "Since:"];
    let symbols = symbols();
    let mut faults = Vec::new();
    let headers = [read("include/hbeat.h"), made()];
    for Function { name, comment } in headers.iter().flat_map(|header| functions(header)) {
        let Some(comment) = comment else {
            faults.push(format!("{name}: no comment"));
            continue;
        };
        let clean = |line: &str| line.trim().trim_start_matches('*').trim().to_owned();
        let lines: Vec<String> = comment.lines().map(clean).filter(|line| !line.is_empty()).collect();
        let places: Vec<_> = LABELS.iter().map(|label| lines.iter().position(|line| line.starts_with(label))).collect();
        for (label, place) in LABELS.iter().zip(&places) {
            match place {
                None => faults.push(format!("{name}: no line {label}")),
                Some(at) if lines[*at].len() == label.len() => faults.push(format!("{name}: {label} says nothing")),
                Some(_) => {}
            }
        }
        if places.iter().all(Option::is_some) {
            if !places.is_sorted() {
                faults.push(format!("{name}: the lines are not in the order {LABELS:?}"));
            }
            if places[0] == Some(0) {
                faults.push(format!("{name}: not a word on what it does"));
            }
            let since = lines.last().and_then(|line| line.strip_prefix("Since:")).map(str::trim);
            if since != symbols.get(&name).map(String::as_str) {
                faults.push(format!("{name}: its last line is not the Since: of docs/symbols.txt"));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn constants_mean_the_same_in_every_language() {
    let constants = constants(&read("include/hbeat.h"));
    assert!(constants.len() > 20, "only {} constants were found", constants.len());
    for (name, value) in constants {
        if value.starts_with(['{', '"', '\\']) {
            continue; // an initialiser, a text
        }
        let digits = value.strip_suffix(['u', 'U']).unwrap_or(&value);
        let number = match digits.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        let number = number.unwrap_or_else(|_| panic!("{name} {value}: not a plain number without sign and L"));
        assert!(u32::try_from(number).is_ok(), "{name} {value}: needs 64 bits");
        assert!(i32::try_from(number).is_ok() || digits != value, "{name} {value}: needs a u behind it");
    }
}

#[test]
fn every_status_of_the_header_has_its_name_and_a_sentence() {
    let made = made();
    let (_, body) = made.split_once("typedef enum hbeat_status_code {").unwrap();
    let (body, _) = body.split_once("} hbeat_status_code;").unwrap();
    let mut found = 0;
    for (name, value) in body.lines().filter_map(|line| line.trim().trim_end_matches(',').split_once(" = ")) {
        let status = value.parse().unwrap();
        // SAFETY: they take a number, and what they give lives for ever.
        let [known, sentence] = unsafe {
            [hbeat::ffi::hbeat_status_name(status), hbeat::ffi::hbeat_status_text(status)]
                .map(|text| CStr::from_ptr(text))
        };
        assert_eq!(known.to_str(), Ok(name));
        assert!(sentence.count_bytes() > 5, "{name}: {sentence:?}");
        found += 1;
    }
    assert_eq!(found, 24);
}

#[test]
fn the_reader_of_headers_reads_headers() {
    let header = "#ifndef X\n#define X \\\n  hbeat_macro(1);\n/* a type */\ntypedef void (*hbeat_callback)(int a);\n\
        typedef struct hbeat_thing { int a; } hbeat_thing;\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\
        /**\n * One.\n * Since: 1\n */\nint hbeat_one(void);\nconst char *hbeat_two(int a,\n  int b);\n}\n";
    let found: Vec<_> = functions(header).into_iter().map(|one| (one.name, one.comment.is_some())).collect();
    assert_eq!(found, [("hbeat_one".to_owned(), true), ("hbeat_two".to_owned(), false)]);
    let numbers = constants("#define HBEAT_A 1u /* one */\n#define HBEAT_H\n#define HBEAT_B -1\n");
    assert_eq!(numbers, [("HBEAT_A".to_owned(), "1u".to_owned()), ("HBEAT_B".to_owned(), "-1".to_owned())]);
}
