//! A policy as one line of text: `cmpp interval=60s timeout=20s tries=3`.

use std::fmt;

use super::{IdleOn, NORMAL, NoProgress, PRESETS, Policy, PolicyError, Proof, Resend, Strategy};

/// How a key's value is written, and where it is kept.
enum Form {
    Time(fn(&mut Policy) -> &mut u32),
    Percent(fn(&mut Policy) -> &mut u32),
    Count(fn(&mut Policy) -> &mut u32),
    /// Two words; the flag says whether it is the second.
    Choice([&'static str; 2], fn(&Policy) -> bool, fn(&mut Policy, bool)),
    NoProgress,
}

struct Key {
    name: &'static str,
    field: &'static str,
    form: Form,
}

/// The keys, the one place where they are written down, in the order in which they are printed.
static KEYS: [Key; 19] = [
    key("interval", "interval_ms", Form::Time(|p| &mut p.interval_ms)),
    key("timeout", "timeout_ms", Form::Time(|p| &mut p.timeout_ms)),
    key("tries", "tries", Form::Count(|p| &mut p.tries)),
    key(
        "strategy",
        "strategy",
        Form::Choice(
            ["idle", "periodic"],
            |p| p.strategy == Strategy::Periodic,
            |p, second| p.strategy = if second { Strategy::Periodic } else { Strategy::Idle },
        ),
    ),
    key(
        "idle_on",
        "idle_on",
        Form::Choice(
            ["received", "either"],
            |p| p.idle_on == IdleOn::Either,
            |p, second| p.idle_on = if second { IdleOn::Either } else { IdleOn::Received },
        ),
    ),
    key(
        "proof",
        "proof",
        Form::Choice(
            ["any", "answer"],
            |p| p.proof == Proof::Answer,
            |p, second| p.proof = if second { Proof::Answer } else { Proof::Any },
        ),
    ),
    key(
        "answer_expected",
        "answer_expected",
        Form::Choice(["no", "yes"], |p| p.answer_expected, |p, yes| p.answer_expected = yes),
    ),
    key("answer", "answer", Form::Choice(["no", "yes"], |p| p.answer, |p, yes| p.answer = yes)),
    key(
        "resend",
        "resend",
        Form::Choice(
            ["new", "same"],
            |p| p.resend == Resend::Same,
            |p, second| p.resend = if second { Resend::Same } else { Resend::New },
        ),
    ),
    key("hold", "hold_time_ms", Form::Time(|p| &mut p.hold_time_ms)),
    key("jitter", "jitter_percent", Form::Percent(|p| &mut p.jitter_percent)),
    key("partial", "partial_ms", Form::Time(|p| &mut p.partial_ms)),
    key("late_reader_limit", "late_reader_limit_ms", Form::Time(|p| &mut p.late_reader_limit_ms)),
    key("up_after", "up_after", Form::Count(|p| &mut p.up_after)),
    key("observe_only", "observe_only", Form::Choice(["no", "yes"], |p| p.observe_only, |p, yes| p.observe_only = yes)),
    key("least", "least_ms", Form::Time(|p| &mut p.least_ms)),
    key("strikes", "strikes", Form::Count(|p| &mut p.strikes)),
    key("progress", "progress_ms", Form::Time(|p| &mut p.progress_ms)),
    key("on_no_progress", "on_no_progress", Form::NoProgress),
];

/// The words of `on_no_progress`.
const NO_PROGRESS: [(&str, NoProgress); 3] =
    [("go_on", NoProgress::GoOn), ("flag", NoProgress::Flag), ("stop", NoProgress::Stop)];

/// Its word.
pub(super) fn no_progress(what: NoProgress) -> &'static str {
    NO_PROGRESS[what as usize].0
}

const fn key(name: &'static str, field: &'static str, form: Form) -> Key {
    Key { name, field, form }
}

/// The units of time, shortest first.
const UNITS: [(&str, u32); 4] = [("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000)];

impl Policy {
    /// The policy of one line of text, checked.
    ///
    /// The line is the name of a preset, which may be left out (then it is `normal`, also for an empty line), and then
    /// `key=value` words in any order, each key at most once, separated by white space:
    ///
    /// | key | value |
    /// |---|---|
    /// | `interval`, `timeout`, `hold`, `partial`, `late_reader_limit`, `least`, `progress` | a time: `250ms`, `2.5s`, `3min`, `24h`, or `0` |
    /// | `tries`, `up_after`, `strikes` | 0 to 255 |
    /// | `jitter` | `0%` to `25%` |
    /// | `strategy` | `idle`, `periodic` |
    /// | `idle_on` | `received`, `either` |
    /// | `proof` | `any`, `answer` |
    /// | `answer_expected`, `answer`, `observe_only` | `yes`, `no` |
    /// | `resend` | `new`, `same` |
    /// | `on_no_progress` | `go_on`, `flag`, `stop` |
    ///
    /// # Errors
    /// The first word that is unknown, repeated or out of range, in one sentence that names it and what is allowed;
    /// or what [`check`](Self::check) says of the whole.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let policy = read(text)?;
        policy.check()?;
        Ok(policy)
    }
}

/// The canonical text: the preset that differs in the fewest keys, then those keys. [`Policy::parse`] gives the equal
/// policy back.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let differing = |base: &Self| KEYS.iter().filter(|key| key.get(self) != key.get(base)).count();
        let (name, base) = PRESETS.iter().min_by_key(|(_, base)| differing(base)).unwrap_or(&PRESETS[0]);
        f.write_str(name)?;
        for key in KEYS.iter().filter(|key| key.get(self) != key.get(base)) {
            write!(f, " {}=", key.name)?;
            key.write_value(f, key.get(self))?;
        }
        Ok(())
    }
}

/// Parses without the check of the whole.
pub(super) fn read(text: &str) -> Result<Policy, PolicyError> {
    let mut words = text.split_whitespace().peekable();
    let mut policy = match words.next_if(|word| !word.contains('=') && find(word).is_none()) {
        Some(name) => Policy::preset(name)?,
        None => NORMAL,
    };
    let mut given = [false; KEYS.len()];
    for word in words {
        let (index, value) = split(word)?;
        let key = &KEYS[index];
        if std::mem::replace(&mut given[index], true) {
            return Err(PolicyError::new(
                key.field,
                format!("{}: {} is given twice, allowed is once", quoted(word), key.name),
            ));
        }
        if !key.set(&mut policy, value) {
            return Err(PolicyError::new(key.field, format!("{}: {}", quoted(word), key.allowed())));
        }
    }
    Ok(policy)
}

/// The key of a word, as an index into [`KEYS`], and its value.
fn split(word: &str) -> Result<(usize, &str), PolicyError> {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    match find(name) {
        Some(index) => Ok((index, value)),
        None if Policy::preset(word).is_ok() => {
            Err(PolicyError::new("preset", format!("{}: a preset is allowed as the first word only", quoted(word))))
        }
        None => {
            let known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
            Err(PolicyError::new("text", format!("{}: unknown key, known are {}", quoted(word), known.join(", "))))
        }
    }
}

fn find(name: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.name == name)
}

impl Key {
    fn get(&self, policy: &Policy) -> u32 {
        match self.form {
            Form::Time(field) | Form::Percent(field) | Form::Count(field) => *field(&mut policy.clone()),
            Form::Choice(_, is_second, _) => u32::from(is_second(policy)),
            Form::NoProgress => policy.on_no_progress as u32,
        }
    }

    /// Whether the value was understood and set.
    fn set(&self, policy: &mut Policy, value: &str) -> bool {
        let (field, parsed) = match self.form {
            Form::Time(field) => (field, time(value)),
            Form::Percent(field) => (field, percent(value)),
            Form::Count(field) => (field, number(value, 255)),
            Form::Choice(words, _, set) => {
                let choice = words.iter().position(|word| *word == value);
                if let Some(choice) = choice {
                    set(policy, choice == 1);
                }
                return choice.is_some();
            }
            Form::NoProgress => {
                let choice = NO_PROGRESS.iter().find(|(word, _)| *word == value);
                if let Some((_, choice)) = choice {
                    policy.on_no_progress = *choice;
                }
                return choice.is_some();
            }
        };
        if let Some(parsed) = parsed {
            *field(policy) = parsed;
        }
        parsed.is_some()
    }

    fn allowed(&self) -> String {
        match self.form {
            Form::Time(_) => "allowed is a time with its unit, as in 250ms, 2.5s, 3min or 24h, \
                              a whole number of milliseconds, 2^29 ms (149h) at most"
                .to_owned(),
            Form::Percent(_) => "allowed is 0% to 25%".to_owned(),
            Form::Count(_) => "allowed is a whole number, 0 to 255".to_owned(),
            Form::Choice([first, second], ..) => format!("allowed is {first} or {second}"),
            Form::NoProgress => "allowed is go_on, flag or stop".to_owned(),
        }
    }

    fn write_value(&self, f: &mut fmt::Formatter<'_>, value: u32) -> fmt::Result {
        match self.form {
            Form::Time(_) => write_time(f, value),
            Form::Percent(_) => write!(f, "{value}%"),
            Form::Count(_) => write!(f, "{value}"),
            Form::Choice(words, ..) => f.write_str(words[value as usize]),
            Form::NoProgress => f.write_str(NO_PROGRESS[value as usize].0),
        }
    }
}

/// A whole number of milliseconds, at most [`Policy::MAX_MS`]. 0 is the same in every unit and needs none.
fn time(value: &str) -> Option<u32> {
    if value == "0" {
        return Some(0);
    }
    let unit_at = value.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (amount, unit) = value.split_at(unit_at);
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let ms = match amount.split_once('.') {
        None => digits(amount)?.checked_mul(u64::from(*unit_ms))?,
        Some((whole, fraction)) => {
            let whole_ms = digits(whole)?.checked_mul(u64::from(*unit_ms))?;
            whole_ms.checked_add(fraction_ms(fraction, *unit_ms)?)?
        }
    };
    u32::try_from(ms).ok().filter(|ms| *ms <= Policy::MAX_MS)
}

/// The milliseconds of the digits behind the point, if they are a whole number.
fn fraction_ms(fraction: &str, unit_ms: u32) -> Option<u64> {
    let significant = fraction.trim_end_matches('0');
    if significant.is_empty() {
        return (!fraction.is_empty()).then_some(0);
    }
    let scaled = digits(significant)?.checked_mul(u64::from(unit_ms))?;
    let scale = 10_u64.checked_pow(u32::try_from(significant.len()).ok()?)?;
    (scaled % scale == 0).then_some(scaled / scale)
}

fn percent(value: &str) -> Option<u32> {
    if value == "0" {
        return Some(0);
    }
    number(value.strip_suffix('%')?, 25)
}

fn number(value: &str, most: u32) -> Option<u32> {
    digits(value).and_then(|number| u32::try_from(number).ok()).filter(|number| *number <= most)
}

/// Decimal digits and nothing else: no sign, no space, at least one.
fn digits(value: &str) -> Option<u64> {
    if !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    value.parse().ok()
}

/// In the largest unit that gives a whole number; seconds may have a fraction.
fn write_time(f: &mut fmt::Formatter<'_>, ms: u32) -> fmt::Result {
    match ms {
        0 => f.write_str("0"),
        1..1_000 => write!(f, "{ms}ms"),
        _ if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
        _ if ms % 60_000 == 0 => write!(f, "{}min", ms / 60_000),
        _ if ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
        _ => {
            let seconds = format!("{}.{:03}", ms / 1_000, ms % 1_000);
            write!(f, "{}s", seconds.trim_end_matches('0'))
        }
    }
}

/// A word as it can stand in a log line: quoted, escaped, cut to 40 characters.
pub(super) fn quoted(word: &str) -> String {
    let mut shown: String = word.chars().take(40).flat_map(char::escape_debug).collect();
    if word.chars().nth(40).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::tests::any_policy;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn parsed(text: &str) -> Policy {
        Policy::parse(text).unwrap()
    }

    fn sentence(text: &str) -> String {
        Policy::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_line_starts_from_its_preset() {
        let cmpp = Policy::preset("cmpp").unwrap();
        let line = "cmpp interval=60s timeout=20s tries=3";
        assert_eq!(parsed(line), Policy { interval_ms: 60_000, timeout_ms: 20_000, ..cmpp });
        assert_eq!(parsed(" \ttries=2\u{3000}jitter=10% \n"), Policy { tries: 2, jitter_percent: 10, ..NORMAL });
        assert_eq!(parsed(""), NORMAL);
        assert_eq!(parsed("passive"), Policy::preset("passive").unwrap());
    }

    #[test]
    fn every_key_sets_its_field() {
        let line = "up_after=2 late_reader_limit=2min partial=500ms jitter=0 hold=1h resend=same answer=no \
                    answer_expected=yes proof=answer idle_on=either strategy=idle tries=5 timeout=2.5s interval=0.5min \
                    on_no_progress=flag progress=1min strikes=4 least=20s";
        let policy = Policy {
            interval_ms: 30_000,
            timeout_ms: 2_500,
            tries: 5,
            strategy: Strategy::Idle,
            idle_on: IdleOn::Either,
            proof: Proof::Answer,
            answer_expected: true,
            answer: false,
            resend: Resend::Same,
            hold_time_ms: 3_600_000,
            jitter_percent: 0,
            partial_ms: 500,
            late_reader_limit_ms: 120_000,
            up_after: 2,
            observe_only: false,
            least_ms: 20_000,
            strikes: 4,
            progress_ms: 60_000,
            on_no_progress: NoProgress::Flag,
        };
        assert_eq!(parsed(line), policy);
        assert_eq!(parsed("strategy=periodic").strategy, Strategy::Periodic);
        assert!(!parsed("answer_expected=no hold=30s").answer_expected);
        assert!(parsed("cmpp observe_only=yes").observe_only);
    }

    #[test]
    fn times_in_every_unit() {
        for (value, ms) in [
            ("0", 0),
            ("0h", 0),
            ("250ms", 250),
            ("2.5s", 2_500),
            ("2.500000000000000000000000s", 2_500),
            ("0.001s", 1),
            ("3min", 180_000),
            ("1.5h", 5_400_000),
            ("24h", 86_400_000),
            ("007s", 7_000),
            ("536870912ms", Policy::MAX_MS),
            ("0.0000025h", 9),
        ] {
            assert_eq!(time(value), Some(ms), "{value}");
        }
        for value in [
            "",
            "5",
            "s",
            "5S",
            "5m",
            "5sec",
            "-5s",
            "+5s",
            "5 s",
            ".5s",
            "5.s",
            "5..0s",
            "1.0.0s",
            "1.5.s",
            "0.5ms",
            "1e3s",
            "５s",
            "0.0001s",
            "536870913ms",
            "150h",
            "99999999999999999999s",
            "18446744073709551615h",
            "0.00000000000000000001h",
            "5秒",
        ] {
            assert_eq!(time(value), None, "{value}");
        }
    }

    #[test]
    fn percents_and_counts() {
        for (value, expected) in [
            ("0%", Some(0)),
            ("0", Some(0)),
            ("25%", Some(25)),
            ("25", None),
            ("26%", None),
            ("-1%", None),
            ("%", None),
        ] {
            assert_eq!(percent(value), expected, "{value}");
        }
        for (value, expected) in [("255", Some(255)), ("256", None), ("", None), ("+1", None), ("4294967299", None)] {
            assert_eq!(number(value, 255), expected, "{value}");
        }
    }

    #[test]
    fn sentences_name_word_value_and_what_is_allowed() {
        let time = "allowed is a time with its unit, as in 250ms, 2.5s, 3min or 24h, a whole number of milliseconds, 2^29 ms (149h) at most";
        assert_eq!(sentence("interval=60"), format!("\"interval=60\": {time}"));
        assert_eq!(sentence("timeout"), format!("\"timeout\": {time}"));
        assert_eq!(sentence("cmpp jitter=30%"), "\"jitter=30%\": allowed is 0% to 25%");
        assert_eq!(sentence("tries=many"), "\"tries=many\": allowed is a whole number, 0 to 255");
        assert_eq!(sentence("answer=true"), "\"answer=true\": allowed is no or yes");
        assert_eq!(sentence("on_no_progress=no"), "\"on_no_progress=no\": allowed is go_on, flag or stop");
        assert_eq!(sentence("tries=2 tries=2"), "\"tries=2\": tries is given twice, allowed is once");
        assert_eq!(sentence("slow"), "unknown preset \"slow\", known are normal, fast, passive, cmpp");
        assert_eq!(sentence("tries=2 fast"), "\"fast\": a preset is allowed as the first word only");
        assert_eq!(
            sentence("fast idle=3s"),
            "\"idle=3s\": unknown key, known are interval, timeout, tries, strategy, idle_on, proof, answer_expected, answer, \
             resend, hold, jitter, partial, late_reader_limit, up_after, observe_only, least, strikes, progress, on_no_progress"
        );
        // The whole is checked, too.
        assert!(
            sentence("interval=0")
                .starts_with("hold_time_ms is 0 where interval_ms is 0: that can never find a dead peer")
        );
        // What a log would not stand is cut and escaped.
        assert_eq!(quoted(&"\u{1b}".repeat(41)), format!("\"{}...\"", "\\u{1b}".repeat(40)));
    }

    #[test]
    fn errors_name_the_field_of_the_struct() {
        for (text, field) in [
            ("hold=5", "hold_time_ms"),
            ("tries=0", "tries"),
            ("slow", "preset"),
            ("tries=1 x=1", "text"),
            ("=", "text"),
        ] {
            assert_eq!(Policy::parse(text).unwrap_err().field(), field, "{text}");
        }
    }

    #[test]
    fn the_canonical_line_is_short() {
        for line in [
            "normal",
            "fast",
            "passive",
            "cmpp",
            "cmpp interval=1min timeout=20s",
            "normal tries=2 strategy=periodic jitter=0%",
            "fast interval=1.25s",
            "normal interval=1.25s timeout=999ms",
            "passive hold=24h",
            "normal least=1s strikes=5 progress=20s on_no_progress=stop",
        ] {
            assert_eq!(parsed(line).to_string(), line);
        }
        // The nearest preset, whatever it was written from.
        assert_eq!(parsed("normal interval=2.5s timeout=2s").to_string(), "fast");
    }

    proptest! {
        #[test]
        fn text_gives_the_equal_policy_back(policy in any_policy()) {
            let line = policy.to_string();
            prop_assert_eq!(read(&line), Ok(policy), "{}", line);
            prop_assert_eq!(Policy::parse(&line), policy.check().map(|()| policy));
        }

        #[test]
        fn any_text_is_a_policy_or_a_sentence(text in any::<String>()) {
            if let Err(error) = Policy::parse(&text) {
                prop_assert!(!error.sentence().chars().any(char::is_control));
            }
        }

        #[test]
        fn nearly_right_text_is_a_policy_or_a_sentence(
            text in "(normal |cmpp )?((interval|timeout|hold|tries|jitter|up_after|proof|x)=[-+.0-9]{0,25}(ms|s|min|h|%|any|no)? ?){0,4}",
        ) {
            if let Ok(policy) = Policy::parse(&text) {
                prop_assert_eq!(Policy::parse(&policy.to_string()), Ok(policy));
            }
        }
    }
}
