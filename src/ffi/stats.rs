//! Numbers out: what the engine counted, how times were spread.

use super::convert::{choice, plain, read_size, write};
use super::engine::{hbeat_engine, with_engine};
use super::event::cause_number;
use super::hbeat_status;
use super::status::hbeat_status_code::HBEAT_OK;
use crate::core::{Cause, State};
use crate::engine::{Counted, Histogram, Stats, Times};

/// histogram: round-trip times of all links.
pub const HBEAT_HISTOGRAM_RTT: u32 = 0u32;
/// histogram: how much later than due hbeat looked at a deadline; large when this machine is busy or was asleep.
pub const HBEAT_HISTOGRAM_LATENESS: u32 = 1u32;
/// Places of stats.downs, more than there are causes.
pub const HBEAT_CAUSES_MAX: usize = 16;
/// Places of histogram.below.
pub const HBEAT_BELOW_MAX: usize = 32;

const _: () = assert!(Cause::ALL.len() < HBEAT_CAUSES_MAX);

/// What an engine counted since it was made, closed links included; a number that hbeat_info has, too, is the sum of
/// what it said of the links. Set struct_size before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_stats {
    /// sizeof(hbeat_stats); comes back as how many bytes hbeat filled.
    pub struct_size: u32,
    /// Links that are PAUSED now.
    pub links_paused: u32,
    /// Links that are UP now.
    pub links_up: u32,
    /// Links that are SUSPECT now.
    pub links_suspect: u32,
    /// Links that are DOWN now and not closed.
    pub links_down: u32,
    /// Shards.
    pub shards: u32,
    /// Links opened.
    pub opened: u64,
    /// Links closed, those that stop closed included.
    pub closed: u64,
    /// Beats noticed as due, those noticed again included.
    pub beats_due: u64,
    /// Beats taken; with observe_only those that the application sent.
    pub beats_sent: u64,
    /// Answers that matched a beat.
    pub answers_received: u64,
    /// Answers that came after their time, but before the next probe.
    pub answers_late: u64,
    /// Answers to no beat of ours, or later still.
    pub answers_unmatched: u64,
    /// Beats of peers.
    pub beats_received: u64,
    /// Answers taken; with observe_only those that hbeat_link_feed_sent found.
    pub answers_sent: u64,
    /// Answers owed and given up: for newer ones, or because observe_only was turned on.
    pub answers_dropped: u64,
    /// Tries missed.
    pub misses: u64,
    /// Complete messages that hbeat_link_feed found.
    pub messages_received: u64,
    /// Bytes that went through hbeat_link_feed.
    pub bytes_received: u64,
    /// Complete messages that hbeat_link_feed_sent found.
    pub messages_sent: u64,
    /// Bytes that went through hbeat_link_feed_sent.
    pub bytes_sent: u64,
    /// Misses that were not the last, each a SUSPECT. Changes count as they happen, also those that a late application is
    /// told of in one event.
    pub suspects: u64,
    /// Changes back to UP.
    pub ups: u64,
    /// With observe_only: how often a link would have been given up.
    pub would_be_downs: u64,
    /// Changes to DOWN, by HBEAT_CAUSE_*.
    pub downs: [u64; HBEAT_CAUSES_MAX],
    /// How often a judgement began to wait for a late reader.
    pub readers_late: u64,
    /// Messages that were unfinished for too long.
    pub partial_frames: u64,
    /// Notices that could not be handed out for a whole timeout, and limits of links that passed without progress.
    pub apps_not_responding: u64,
    /// How often this process did not run when it should have.
    pub pauses: u64,
    /// For how long in all, in milliseconds.
    pub paused_ms: u64,
    /// How often a shard turned: woke up, or was driven.
    pub turns: u64,
    /// How often peers were caught beating too often (least_ms).
    pub strikes: u64,
    /// Frames of peers whose contents made no sense.
    pub frames_rejected: u64,
    /// Frames that were not sealed with a key of their link's, were sent before, or belong to another connection.
    pub frames_unauthenticated: u64,
}

plain!(hbeat_stats {
    struct_size,
    links_paused,
    links_up,
    links_suspect,
    links_down,
    shards,
    opened,
    closed,
    beats_due,
    beats_sent,
    answers_received,
    answers_late,
    answers_unmatched,
    beats_received,
    answers_sent,
    answers_dropped,
    misses,
    messages_received,
    bytes_received,
    messages_sent,
    bytes_sent,
    suspects,
    ups,
    would_be_downs,
    downs,
    readers_late,
    partial_frames,
    apps_not_responding,
    pauses,
    paused_ms,
    turns,
    strikes,
    frames_rejected,
    frames_unauthenticated,
} until turns);

impl From<&Stats> for hbeat_stats {
    fn from(stats: &Stats) -> Self {
        let mut downs = [0; HBEAT_CAUSES_MAX];
        for cause in Cause::ALL {
            downs[cause_number(Some(cause)) as usize] = stats.downs(cause);
        }
        Self {
            struct_size: size_of::<Self>() as u32,
            links_paused: stats.links(State::Paused),
            links_up: stats.links(State::Up),
            links_suspect: stats.links(State::Suspect),
            links_down: stats.links(State::Down),
            shards: stats.shards,
            opened: stats[Counted::Opened],
            closed: stats[Counted::Closed],
            beats_due: stats[Counted::BeatsDue],
            beats_sent: stats[Counted::BeatsSent],
            answers_received: stats[Counted::AnswersReceived],
            answers_late: stats[Counted::AnswersLate],
            answers_unmatched: stats[Counted::AnswersUnmatched],
            beats_received: stats[Counted::BeatsReceived],
            answers_sent: stats[Counted::AnswersSent],
            answers_dropped: stats[Counted::AnswersDropped],
            misses: stats[Counted::Misses],
            messages_received: stats[Counted::MessagesReceived],
            bytes_received: stats[Counted::BytesReceived],
            messages_sent: stats[Counted::MessagesSent],
            bytes_sent: stats[Counted::BytesSent],
            suspects: stats[Counted::Suspects],
            ups: stats[Counted::Ups],
            would_be_downs: stats[Counted::WouldBeDowns],
            downs,
            readers_late: stats[Counted::ReadersLate],
            partial_frames: stats[Counted::PartialFrames],
            apps_not_responding: stats[Counted::AppsNotResponding],
            pauses: stats[Counted::Pauses],
            paused_ms: stats[Counted::PausedMs],
            turns: stats[Counted::Turns],
            strikes: stats[Counted::Strikes],
            frames_rejected: stats[Counted::FramesRejected],
            frames_unauthenticated: stats[Counted::FramesUnauthenticated],
        }
    }
}

/// How times were spread since the engine was made, in microseconds. count, sum_us and below are exact, the others to one
/// percent and not above an hour and twelve minutes, and 0 where nothing was counted. Set struct_size
/// before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_histogram {
    /// sizeof(hbeat_histogram); comes back as how many bytes hbeat filled.
    pub struct_size: u32,
    /// HBEAT_HISTOGRAM_*.
    pub which: u32,
    /// How many there are.
    pub count: u64,
    /// All of them together.
    pub sum_us: u64,
    /// The least.
    pub min_us: u64,
    /// The greatest.
    pub max_us: u64,
    /// Half of them are not above it.
    pub p50_us: u64,
    /// 90 percent of them are not.
    pub p90_us: u64,
    /// 99 percent.
    pub p99_us: u64,
    /// 99.9 percent.
    pub p999_us: u64,
    /// Place n: how many are less than 2^n.
    pub below: [u64; HBEAT_BELOW_MAX],
}

plain!(hbeat_histogram {
    struct_size,
    which,
    count,
    sum_us,
    min_us,
    max_us,
    p50_us,
    p90_us,
    p99_us,
    p999_us,
    below,
} until below);

impl hbeat_histogram {
    fn of(histogram: &Histogram, which: u32) -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            which,
            count: histogram.count(),
            sum_us: histogram.sum_us(),
            min_us: histogram.min_us(),
            max_us: histogram.max_us(),
            p50_us: histogram.quantile_us(0.5),
            p90_us: histogram.quantile_us(0.9),
            p99_us: histogram.quantile_us(0.99),
            p999_us: histogram.quantile_us(0.999),
            below: histogram.below(),
        }
    }
}

/// ==== Numbers ====
///
/// What the engine counted, after everything said to it so far. Cheap enough to be asked each second, however many
/// links there are. Also after stop. stats->struct_size must be set.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: for a turn of each shard at most.
/// Errors: NULL, SIZE, FORKED.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_stats(engine: *const hbeat_engine, stats: *mut hbeat_stats) -> hbeat_status {
    // SAFETY: an engine that lives and a struct, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let size = read_size(stats, "stats")?;
            write(hbeat_stats::from(&engine.stats()?), stats.cast(), size);
            Ok(HBEAT_OK)
        })
    }
}

/// How times were spread: HBEAT_HISTOGRAM_RTT or HBEAT_HISTOGRAM_LATENESS. histogram->struct_size must be set.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: for a turn of each shard at most.
/// Errors: NULL, SIZE, FORKED; INVALID for a histogram that there is not.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_histogram(
    engine: *const hbeat_engine,
    which: u32,
    histogram: *mut hbeat_histogram,
) -> hbeat_status {
    let known = [("HBEAT_HISTOGRAM_RTT", Times::Rtt), ("HBEAT_HISTOGRAM_LATENESS", Times::Lateness)];
    // SAFETY: an engine that lives and a struct, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let size = read_size(histogram, "histogram")?;
            let found = engine.histogram(choice(which, "which", known)?)?;
            write(hbeat_histogram::of(&found, which), histogram.cast(), size);
            Ok(HBEAT_OK)
        })
    }
}
