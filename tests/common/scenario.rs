//! Scenario tables (`tests/scenarios/*.txt`): what an application does at which millisecond, and what it is told.
//! Every way to run reads the same tables; those in `core` show the step function alone. One table:
//!
//! ```text
//! scenario: a mute peer            its name; `#` begins a comment
//! policy: cmpp tries=2             a preset and key=value
//! auto: take                       each beat is taken as soon as its notice is handed out (sequences 1, 2, …)
//! ordinal: 3                       ordinal of the link in its engine, 0 unless given
//! open 0                           when the link is opened (and started, unless `open 0 paused`)
//! 180000 > SEND try=1              what the application must be told at exactly this moment, in this order
//! 180000 < take                    what the application does (a `<` acts before what is due at its moment,
//!                                  unless a `>` of the same moment stands above it)
//! 1000..9000/1000 < sent           the same at 1000, 2000, … 9000
//! 400000 end                       nothing else happened until here
//! ```
//!
//! What the application does: `received`, `sent`, `take [SEQ]`, `really_sent`, `unsent`, `answer SEQ`, `beat`,
//! `beat_sent SEQ` (its own heartbeat's, with `observe_only`), `report CAUSE`, `desync`, `start`, `pause`, `policy TEXT`, `unread N`, `full 0|1` (what the descriptor shows),
//! `stuck_beat` (a frame in which the peer says that its application does not respond), `policed`, `app_stuck 0|1` (ours makes no progress),
//! `open_message`, `close_message` (an unfinished message begins, is given up), `hang`, `unhang` (notices are not
//! handed out), `stop_process MS` (nothing of ours runs for so long).
//! A `received` wakes nobody: what it leads to is seen at the link's next deadline or other input.
//!
//! What it is told: `SEND try=N` (0: no try of a probe; `seq=S` when it must carry that number again),
//! `SUSPECT left=N`, `UP`, `DOWN cause=C tries=N`, `WOULD_BE_DOWN cause=C tries=N`, `LOCAL_READER_LATE`, `PARTIAL_FRAME`, `APP_NOT_RESPONDING`,
//! `MATCHED [rtt=MS]`, `LATE`, `UNMATCHED`. Order within a moment: answer, notes, change, SEND.

use std::path::Path;

pub struct Scenario {
    pub file: String,
    pub name: String,
    pub policy: String,
    pub auto_take: bool,
    pub ordinal: u32,
    pub opened: u64,
    pub paused: bool,
    pub lines: Vec<Line>,
    pub end: u64,
}

pub struct Line {
    pub at: u64,
    pub what: What,
}

pub enum What {
    /// The application does this.
    Do(String),
    /// It is told this.
    Told(String),
}

/// All tables of a folder, in the order of their file names.
pub fn all(folder: &str) -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().filter(|path| path.extension().is_some_and(|end| end == "txt")).flat_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vec<Scenario> {
    let file = path.file_name().unwrap().to_string_lossy().into_owned();
    let mut scenarios: Vec<Scenario> = Vec::new();
    for (number, raw) in std::fs::read_to_string(path).unwrap().lines().enumerate() {
        let line = raw.split('#').next().unwrap().trim();
        if line.is_empty() {
            continue;
        }
        let read = match line.strip_prefix("scenario: ") {
            Some(name) => {
                scenarios.push(empty(&file, name));
                Some(())
            }
            None => scenarios.last_mut().and_then(|scenario| read_line(scenario, line)),
        };
        assert!(read.is_some(), "{file}:{}: cannot read '{line}'", number + 1);
    }
    for scenario in &mut scenarios {
        scenario.lines.sort_by_key(|line| line.at);
        let last = scenario.lines.last().map_or(scenario.opened, |line| line.at);
        scenario.end = scenario.end.max(last);
    }
    scenarios
}

fn empty(file: &str, name: &str) -> Scenario {
    Scenario {
        file: file.to_owned(),
        name: name.to_owned(),
        policy: String::new(),
        auto_take: false,
        ordinal: 0,
        opened: 0,
        paused: false,
        lines: Vec::new(),
        end: 0,
    }
}

fn read_line(scenario: &mut Scenario, line: &str) -> Option<()> {
    let (word, rest) = line.split_once(' ')?;
    let rest = rest.trim();
    match word {
        "policy:" => scenario.policy = rest.to_owned(),
        "auto:" => scenario.auto_take = rest == "take",
        "ordinal:" => scenario.ordinal = rest.parse().ok()?,
        "open" => {
            scenario.opened = rest.split(' ').next()?.parse().ok()?;
            scenario.paused = rest.ends_with("paused");
        }
        _ if rest == "end" => scenario.end = word.parse().ok()?,
        _ => {
            let text = rest.get(1..)?.trim().to_owned();
            let act = match rest.as_bytes()[0] {
                b'<' => true,
                b'>' => false,
                _ => return None,
            };
            for at in moments(word)? {
                let what = if act { What::Do(text.clone()) } else { What::Told(text.clone()) };
                scenario.lines.push(Line { at, what });
            }
        }
    }
    Some(())
}

fn moments(word: &str) -> Option<Vec<u64>> {
    let Some((from, rest)) = word.split_once("..") else {
        return Some(vec![word.parse().ok()?]);
    };
    let (to, step) = rest.split_once('/')?;
    let (from, to, step): (u64, u64, usize) = (from.parse().ok()?, to.parse().ok()?, step.parse().ok()?);
    Some((from..=to).step_by(step).collect())
}
