//! Policies: when to beat, how long to wait, how many tries.

use super::convert::{check_fits, check_output, check_size, choice, flag, plain, put_text, read, text, write};
use super::last_error::Failure;
use super::status::hbeat_status_code::HBEAT_OK;
use super::{Outcome, guard, hbeat_status};
use crate::core::{IdleOn, NoProgress, Policy, Proof, Resend, Strategy};
use std::ffi::c_char;

/// policy.strategy: a beat is due when the link was idle for interval_ms.
pub const HBEAT_STRATEGY_IDLE: u32 = 0u32;
/// policy.strategy: a beat is due each interval_ms, whatever the traffic.
pub const HBEAT_STRATEGY_PERIODIC: u32 = 1u32;
/// policy.idle_on: idle is a link on which nothing was received.
pub const HBEAT_IDLE_ON_RECEIVED: u32 = 0u32;
/// policy.idle_on: or nothing was sent (NAT, MQTT).
pub const HBEAT_IDLE_ON_EITHER: u32 = 1u32;
/// policy.proof: any complete message proves that the peer lives.
pub const HBEAT_PROOF_ANY: u32 = 0u32;
/// policy.proof: only an answer that matches an outstanding beat does.
pub const HBEAT_PROOF_ANSWER: u32 = 1u32;
/// policy.resend: each try carries a new sequence number.
pub const HBEAT_RESEND_NEW: u32 = 0u32;
/// policy.resend: each try carries that of the first one (CMPP).
pub const HBEAT_RESEND_SAME: u32 = 1u32;
/// policy.on_no_progress: beats and answers go on.
pub const HBEAT_NO_PROGRESS_GO_ON: u32 = 0u32;
/// policy.on_no_progress: they say that the application does not respond, where the protocol can (heart).
pub const HBEAT_NO_PROGRESS_FLAG: u32 = 1u32;
/// policy.on_no_progress: they stop.
pub const HBEAT_NO_PROGRESS_STOP: u32 = 2u32;

/// Longest text of a policy, in bytes.
const TEXT_MAX: usize = 1024;

/// When to beat, how long to wait for an answer, how many tries, and what proves life. Start from a preset or from
/// text, then change fields. No time is longer than 2^29 ms (149 hours).
///
/// After interval_ms without a message a beat is due. If nothing proves life within timeout_ms, that try is missed:
/// the link is SUSPECT and the next try is due at once. The miss number tries is the verdict, DOWN, at the first beat
/// + tries * timeout_ms whatever happened in between. hbeat_policy_detection computes what that comes to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_policy {
    /// sizeof(hbeat_policy); set by the calls that fill the struct.
    pub struct_size: u32,
    /// Idle time, or period, after which a beat is due; 0 = this side never beats by itself.
    pub interval_ms: u32,
    /// How long an answer may take, from 1.
    pub timeout_ms: u32,
    /// How many beats in a row may go unanswered, all sends counted: 0 to 255; 0 only where hold_time_ms judges alone.
    pub tries: u32,
    /// HBEAT_STRATEGY_*.
    pub strategy: u32,
    /// HBEAT_IDLE_ON_*.
    pub idle_on: u32,
    /// HBEAT_PROOF_*.
    pub proof: u32,
    /// 1: the peer's protocol answers beats; 0: beats are one-way, and hold_time_ms judges alone.
    pub answer_expected: u32,
    /// 1: hbeat owes an answer to a beat that hbeat_link_feed finds; 0: the application answers it.
    pub answer: u32,
    /// HBEAT_RESEND_*.
    pub resend: u32,
    /// How long silence is tolerated before a probe starts, or before the verdict where nothing can be probed; 0 = off.
    pub hold_time_ms: u32,
    /// How much earlier than due a beat may go out, in percent of the interval, so that many links spread: 0 to 25.
    pub jitter_percent: u32,
    /// How long a message may stay unfinished before its bytes no longer count as a sign of life; 0 = timeout_ms.
    pub partial_ms: u32,
    /// The longest that unread bytes on the observed descriptor hold a verdict up; 0 = 10 * timeout_ms.
    pub late_reader_limit_ms: u32,
    /// Intervals in a row with a sign of life that bring a DOWN link back (datagrams): 0 to 255; 0 = DOWN is final.
    pub up_after: u32,
    /// 1: the application has a heartbeat of its own, and hbeat only watches it. Nothing is sent or answered; the
    /// application's beats, seen by hbeat_link_feed_sent or told by hbeat_link_beat_sent, are the tries, but for those
    /// within the timeout of another; what would be DOWN is HBEAT_EVENT_WOULD_BE_DOWN. up_after must be 0.
    pub observe_only: u32,
    /// The peer is to beat no more often than each so many milliseconds; 0 = as often as it likes. What jitter of a
    /// quarter, retries and a network that held beats up can make of that is allowed; each beat beyond it is a strike
    /// (HBEAT_EVENT_STRIKE), unless data came since the last one.
    pub least_ms: u32,
    /// The strike after so many is the verdict, HBEAT_CAUSE_POLICED: 0 to 255; 0 = 3. 0 where least_ms is 0.
    pub strikes: u32,
    /// How long the application may go without hbeat_engine_progress or hbeat_link_progress before it counts as not
    /// responding: HBEAT_EVENT_APP_NOT_RESPONDING, and no verdict against the peer for late_reader_limit_ms at most;
    /// 0 = nobody asks.
    pub progress_ms: u32,
    /// What then becomes of beats and answers: HBEAT_NO_PROGRESS_*; GO_ON where progress_ms is 0 or observe_only is 1.
    pub on_no_progress: u32,
}

plain!(hbeat_policy {
    struct_size,
    interval_ms,
    timeout_ms,
    tries,
    strategy,
    idle_on,
    proof,
    answer_expected,
    answer,
    resend,
    hold_time_ms,
    jitter_percent,
    partial_ms,
    late_reader_limit_ms,
    up_after,
    observe_only,
    least_ms,
    strikes,
    progress_ms,
    on_no_progress,
} until up_after);

impl From<&Policy> for hbeat_policy {
    fn from(policy: &Policy) -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            interval_ms: policy.interval_ms,
            timeout_ms: policy.timeout_ms,
            tries: policy.tries,
            strategy: match policy.strategy {
                Strategy::Idle => HBEAT_STRATEGY_IDLE,
                Strategy::Periodic => HBEAT_STRATEGY_PERIODIC,
            },
            idle_on: match policy.idle_on {
                IdleOn::Received => HBEAT_IDLE_ON_RECEIVED,
                IdleOn::Either => HBEAT_IDLE_ON_EITHER,
            },
            proof: match policy.proof {
                Proof::Any => HBEAT_PROOF_ANY,
                Proof::Answer => HBEAT_PROOF_ANSWER,
            },
            answer_expected: u32::from(policy.answer_expected),
            answer: u32::from(policy.answer),
            resend: match policy.resend {
                Resend::New => HBEAT_RESEND_NEW,
                Resend::Same => HBEAT_RESEND_SAME,
            },
            hold_time_ms: policy.hold_time_ms,
            jitter_percent: policy.jitter_percent,
            partial_ms: policy.partial_ms,
            late_reader_limit_ms: policy.late_reader_limit_ms,
            up_after: policy.up_after,
            observe_only: u32::from(policy.observe_only),
            least_ms: policy.least_ms,
            strikes: policy.strikes,
            progress_ms: policy.progress_ms,
            on_no_progress: match policy.on_no_progress {
                NoProgress::GoOn => HBEAT_NO_PROGRESS_GO_ON,
                NoProgress::Flag => HBEAT_NO_PROGRESS_FLAG,
                NoProgress::Stop => HBEAT_NO_PROGRESS_STOP,
            },
        }
    }
}

/// The caller's policy, checked.
///
/// # Safety
/// As for [`read`].
pub(super) unsafe fn read_policy(pointer: *const hbeat_policy) -> Result<Policy, Failure> {
    // SAFETY: as for this function.
    let policy = unsafe { read(pointer, "policy") }?;
    let idle_on = [("HBEAT_IDLE_ON_RECEIVED", IdleOn::Received), ("HBEAT_IDLE_ON_EITHER", IdleOn::Either)];
    let strategy = [("HBEAT_STRATEGY_IDLE", Strategy::Idle), ("HBEAT_STRATEGY_PERIODIC", Strategy::Periodic)];
    let policy = Policy {
        interval_ms: policy.interval_ms,
        timeout_ms: policy.timeout_ms,
        tries: policy.tries,
        strategy: choice(policy.strategy, "strategy", strategy)?,
        idle_on: choice(policy.idle_on, "idle_on", idle_on)?,
        proof: choice(policy.proof, "proof", [("HBEAT_PROOF_ANY", Proof::Any), ("HBEAT_PROOF_ANSWER", Proof::Answer)])?,
        answer_expected: flag(policy.answer_expected, "answer_expected")?,
        answer: flag(policy.answer, "answer")?,
        resend: choice(
            policy.resend,
            "resend",
            [("HBEAT_RESEND_NEW", Resend::New), ("HBEAT_RESEND_SAME", Resend::Same)],
        )?,
        hold_time_ms: policy.hold_time_ms,
        jitter_percent: policy.jitter_percent,
        partial_ms: policy.partial_ms,
        late_reader_limit_ms: policy.late_reader_limit_ms,
        up_after: policy.up_after,
        observe_only: flag(policy.observe_only, "observe_only")?,
        least_ms: policy.least_ms,
        strikes: policy.strikes,
        progress_ms: policy.progress_ms,
        on_no_progress: choice(
            policy.on_no_progress,
            "on_no_progress",
            [
                ("HBEAT_NO_PROGRESS_GO_ON", NoProgress::GoOn),
                ("HBEAT_NO_PROGRESS_FLAG", NoProgress::Flag),
                ("HBEAT_NO_PROGRESS_STOP", NoProgress::Stop),
            ],
        )?,
    };
    policy.check()?;
    Ok(policy)
}

/// Fills `place` with a policy that `make` finds.
///
/// # Safety
/// `size` bytes may be written at `place`.
unsafe fn fill(place: *mut hbeat_policy, size: usize, make: impl FnOnce() -> Result<Policy, Failure>) -> Outcome {
    check_output(place, "policy")?;
    check_size::<hbeat_policy>(size, "policy_size")?;
    let policy = hbeat_policy::from(&make()?);
    check_fits(&policy, size, "policy")?;
    // SAFETY: as for this function; the size was checked.
    unsafe { write(policy, place.cast(), size) };
    Ok(HBEAT_OK)
}

/// ==== Policies ====
///
/// Fills *policy with a preset: "normal" (verdict 30 to 39 s after the peer's death), "fast" (6 to 8.5 s),
/// "passive" (never beats first; after 30 s of silence three tries of 5 s), "cmpp" (C = 180 s, T = 60 s, N = 3).
/// policy_size is sizeof(hbeat_policy).
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE; INVALID for an unknown name.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_policy_preset(
    policy: *mut hbeat_policy,
    policy_size: usize,
    name: *const c_char,
) -> hbeat_status {
    guard(|| {
        // SAFETY: `name` is text and `policy` a place of `policy_size` bytes, by the rules at the head of the header.
        unsafe { fill(policy, policy_size, || Ok(Policy::preset(text(name, "name", TEXT_MAX)?)?)) }
    })
}

/// Fills *policy from one line of text of at most 1024 bytes: the name of a preset ("normal" if left out), then
/// changes to it, "cmpp interval=60s timeout=20s tries=3". Words: interval, timeout, hold, partial,
/// late_reader_limit, least, progress (250ms, 2.5s, 3min, 24h or 0); tries, up_after, strikes (a number); jitter (0%
/// to 25%); strategy (idle, periodic); idle_on (received, either); proof (any, answer); resend (new, same);
/// answer_expected, answer, observe_only (yes, no); on_no_progress (go_on, flag, stop). The policy is checked as by hbeat_policy_check.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE; INVALID for a text or a policy that is refused: hbeat_last_error names the word; UNSUPPORTED
/// where the caller's struct is older than a word of the text.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_policy_parse(
    policy: *mut hbeat_policy,
    policy_size: usize,
    text: *const c_char,
) -> hbeat_status {
    guard(|| {
        // SAFETY: `text` is text and `policy` a place of `policy_size` bytes, by the rules at the head of the header.
        unsafe { fill(policy, policy_size, || Ok(Policy::parse(super::convert::text(text, "text", TEXT_MAX)?)?)) }
    })
}

/// Writes the policy as one line that hbeat_policy_parse reads back: at most capacity - 1 bytes and a NUL. *length is
/// the length of the whole line without the NUL; if it is not below capacity, the line was cut. buffer may be NULL if
/// capacity is 0, length may be NULL.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED; INVALID for a policy that hbeat_policy_check refuses.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_policy_print(
    policy: *const hbeat_policy,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> hbeat_status {
    guard(|| {
        // SAFETY: `policy` is a struct and `buffer` a place of `capacity` bytes, by the rules at the head of the header.
        unsafe { put_text(&read_policy(policy)?.to_string(), buffer, capacity, length) }?;
        Ok(HBEAT_OK)
    })
}

/// Whether the policy can be followed: every value in its range, no two that contradict each other, and a dead peer
/// is found in the end. hbeat_link_open and hbeat_link_set_policy check it, too.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED; INVALID, and hbeat_last_error names field, value and range.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_policy_check(policy: *const hbeat_policy) -> hbeat_status {
    guard(|| {
        // SAFETY: `policy` is a struct, by the rules at the head of the header.
        unsafe { read_policy(policy) }?;
        Ok(HBEAT_OK)
    })
}

/// How long after its death a peer is given up: at the earliest and at the latest, in milliseconds, if beats are
/// written when they are due.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED; INVALID for a policy that hbeat_policy_check refuses.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_policy_detection(
    policy: *const hbeat_policy,
    earliest_ms: *mut u32,
    latest_ms: *mut u32,
) -> hbeat_status {
    guard(|| {
        check_output(earliest_ms, "earliest_ms")?;
        check_output(latest_ms, "latest_ms")?;
        // SAFETY: `policy` is a struct, by the rules at the head of the header.
        let detection = unsafe { read_policy(policy) }?.detection();
        // SAFETY: neither is NULL.
        unsafe {
            earliest_ms.write(detection.earliest_ms);
            latest_ms.write(detection.latest_ms);
        }
        Ok(HBEAT_OK)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::convert::array_text;
    use crate::ffi::last_error::tests::last_error;
    use crate::ffi::status::hbeat_status_code::{
        HBEAT_ERR_INVALID, HBEAT_ERR_NULL, HBEAT_ERR_SIZE, HBEAT_ERR_UNSUPPORTED,
    };
    use std::mem::zeroed;
    use std::ptr::null_mut;

    const SIZE: usize = size_of::<hbeat_policy>();

    fn parsed(text: &std::ffi::CStr) -> hbeat_policy {
        unsafe {
            let mut policy = zeroed();
            assert_eq!(hbeat_policy_parse(&mut policy, SIZE, text.as_ptr()), 0, "{}", last_error());
            policy
        }
    }

    #[test]
    fn a_policy_goes_from_text_to_struct_and_back() {
        let policy = parsed(c"cmpp interval=60s timeout=20s proof=answer strategy=periodic jitter=20%");
        assert_eq!((policy.struct_size, policy.interval_ms, policy.timeout_ms, policy.tries), (80, 60_000, 20_000, 3));
        assert_eq!((policy.proof, policy.strategy, policy.jitter_percent, policy.resend), (1, 1, 20, 1));
        let mut buffer = [0; 128];
        let mut length = 0;
        let printed = unsafe { hbeat_policy_print(&policy, buffer.as_mut_ptr(), 128, &mut length) };
        let line = array_text(&buffer).unwrap();
        assert_eq!((printed, length), (0, line.len()));
        let again = unsafe { read_policy(&parsed(&std::ffi::CString::new(line).unwrap())) }.ok();
        assert_eq!(again, unsafe { read_policy(&policy) }.ok());
    }

    #[test]
    fn an_older_struct_takes_only_what_it_can_say() {
        const OLD: usize = 60;
        let mut policy = unsafe { zeroed() };
        unsafe {
            assert_eq!(hbeat_policy_parse(&mut policy, OLD, c"cmpp observe_only=no".as_ptr()), 0);
            assert_eq!(policy.struct_size as usize, OLD);
            let refused = hbeat_policy_parse(&mut policy, OLD, c"fast observe_only=yes".as_ptr());
            assert_eq!(refused, HBEAT_ERR_UNSUPPORTED as i32);
        }
        assert_eq!(policy.interval_ms, 180_000, "it is as it was");
        assert!(last_error().starts_with("policy has 60 bytes, which lack a field that is not 0"), "{}", last_error());
    }

    #[test]
    fn presets_say_how_long_a_verdict_takes() {
        unsafe {
            let (mut policy, mut earliest, mut latest) = (zeroed(), 0, 0);
            assert_eq!(hbeat_policy_preset(&mut policy, SIZE, c"normal".as_ptr()), 0);
            assert_eq!(hbeat_policy_detection(&policy, &mut earliest, &mut latest), 0);
            assert_eq!((earliest, latest), (30_000, 39_000));
            assert_eq!(hbeat_policy_detection(&policy, null_mut(), &mut latest), HBEAT_ERR_NULL as i32);
            assert_eq!(last_error(), "earliest_ms is NULL");
        }
    }

    #[test]
    fn what_is_refused_is_named_and_writes_nothing() {
        unsafe {
            let mut policy = hbeat_policy { interval_ms: 77, ..zeroed() };
            assert_eq!(hbeat_policy_preset(&mut policy, SIZE, c"slow".as_ptr()), HBEAT_ERR_INVALID as i32);
            assert!(last_error().contains("slow") && last_error().contains("normal"), "{}", last_error());
            assert_eq!(hbeat_policy_parse(&mut policy, SIZE, c"cmpp tries=x".as_ptr()), HBEAT_ERR_INVALID as i32);
            assert_eq!(hbeat_policy_parse(&mut policy, 8, c"cmpp".as_ptr()), HBEAT_ERR_SIZE as i32);
            assert_eq!(hbeat_policy_parse(null_mut(), SIZE, c"cmpp".as_ptr()), HBEAT_ERR_NULL as i32);
            assert_eq!(hbeat_policy_parse(&mut policy, SIZE, null_mut()), HBEAT_ERR_NULL as i32);
            assert_eq!(last_error(), "text is NULL");
            assert_eq!((policy.struct_size, policy.interval_ms), (0, 77));
        }
    }

    #[test]
    fn every_field_of_a_struct_is_checked() {
        let good = parsed(c"cmpp");
        assert_eq!(unsafe { hbeat_policy_check(&good) }, 0);
        for (bad, field) in [
            (hbeat_policy { strategy: 2, ..good }, "strategy is 2, allowed is HBEAT_STRATEGY_IDLE (0) or"),
            (hbeat_policy { idle_on: 2, ..good }, "idle_on is 2"),
            (hbeat_policy { proof: u32::MAX, ..good }, "proof is 4294967295"),
            (hbeat_policy { resend: 2, ..good }, "resend is 2"),
            (hbeat_policy { on_no_progress: 3, ..good }, "on_no_progress is 3"),
            (hbeat_policy { answer: 2, ..good }, "answer is 2"),
            (hbeat_policy { answer_expected: 2, ..good }, "answer_expected is 2"),
            (hbeat_policy { timeout_ms: 0, ..good }, "timeout_ms is 0"),
            (hbeat_policy { jitter_percent: 26, ..good }, "jitter_percent is 26"),
        ] {
            assert_eq!(unsafe { hbeat_policy_check(&bad) }, HBEAT_ERR_INVALID as i32);
            assert!(last_error().starts_with(field), "{}", last_error());
        }
    }
}
