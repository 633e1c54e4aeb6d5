//! What Wireshark's dissector, which nobody here wrote, says of every CMPP frame we build.
//!
//! Without `tshark` and `text2pcap` there is nothing to ask: the test says so and passes, unless
//! `HBEAT_REQUIRE_PEERS=1`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use hbeat::wire::{Fields, Owed, Protocol};

const SEQUENCES: [u32; 6] = [0, 1, 4711, 0x7fff_ffff, 0x8000_0000, u32::MAX];

#[test]
fn tshark_reads_our_cmpp_frames_as_we_mean_them() {
    if let Some(missing) = ["tshark", "text2pcap"].into_iter().find(|program| !is_installed(program)) {
        let required = std::env::var_os("HBEAT_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(!required, "{missing} is not installed, and HBEAT_REQUIRE_PEERS=1 asks for it");
        // Not by a macro: the harness would swallow the line.
        writeln!(std::io::stderr(), "skipped: {missing} is not installed").unwrap();
        return;
    }
    let frames: Vec<Vec<u8>> = SEQUENCES.into_iter().flat_map(|sequence| [beat(sequence), answer(sequence)]).collect();
    let expected: Vec<String> = SEQUENCES
        .into_iter()
        .flat_map(|sequence| [line(12, 0x0000_0008, sequence), line(13, 0x8000_0008, sequence)])
        .collect();
    // One frame a packet, then all of them as the one stream that `take` would make of them.
    assert_eq!(dissect(&frames), expected);
    let joined = |at| {
        let values = expected.iter().filter_map(|line| line.split('|').nth(at));
        values.collect::<Vec<_>>().join(",")
    };
    let stream = format!("{}|{}|{}|", joined(0), joined(1), joined(2));
    assert_eq!(dissect(&[frames.concat()]), [stream]);
}

fn beat(sequence: u32) -> Vec<u8> {
    let mut out = [0; 13];
    let length = Protocol::Cmpp.beat(sequence, &Fields::default(), &mut out).expect("it fits");
    out[..length].to_vec()
}

fn answer(sequence: u32) -> Vec<u8> {
    let mut out = [0; 13];
    let owed = Owed { sequence, ..Owed::default() };
    let length = Protocol::Cmpp.answer(&owed, &Fields::default(), &mut out).expect("it fits");
    out[..length].to_vec()
}

/// What `dissect` says of one packet with one message and nothing wrong in it.
fn line(length: u32, command: u32, sequence: u32) -> String {
    format!("{length}|{command:#010x}|{sequence}|")
}

/// For each payload, as one TCP segment to the CMPP port: Total_Length, Command_Id and Sequence_Id as the CMPP
/// dissector reads them, and whether anything is malformed.
fn dissect(payloads: &[Vec<u8>]) -> Vec<String> {
    let mut dump = String::new();
    for payload in payloads {
        for (row, octets) in payload.chunks(16).enumerate() {
            write!(dump, "{:06x}", row * 16).unwrap();
            octets.iter().for_each(|octet| write!(dump, " {octet:02x}").unwrap());
            dump.push('\n');
        }
    }
    let capture = pipe("text2pcap", &["-T", "50000,7890", "-", "-"], dump.as_bytes());
    let mut arguments = vec!["-r", "-", "-d", "tcp.port==7890,cmpp", "-T", "fields", "-E", "separator=|"];
    for field in ["cmpp.Total_Length", "cmpp.Command_Id", "cmpp.Sequence_Id", "_ws.malformed"] {
        arguments.extend(["-e", field]);
    }
    String::from_utf8(pipe("tshark", &arguments, &capture)).unwrap().lines().map(String::from).collect()
}

fn pipe(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it is installed");
    // The inputs are smaller than a pipe holds, so this cannot wait for the program to read them.
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
