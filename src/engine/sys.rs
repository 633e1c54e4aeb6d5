//! The few system calls that the engine makes itself: clocks, signal masks, thread priorities, the fork watch.
#![allow(unsafe_code)]

use super::error::{Code, Error};
use once_cell::sync::OnceCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// `CLOCK_MONOTONIC` in nanoseconds.
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// How far the clock that counts suspends is ahead of the one that does not, in nanoseconds.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn suspended_ns() -> u64 {
    clock_ns(libc::CLOCK_BOOTTIME).saturating_sub(monotonic_ns())
}

/// How far the clock that counts suspends is ahead of the one that does not: not known on this system.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn suspended_ns() -> u64 {
    0
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to; both clocks exist since Linux 2.6.39, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Asks that memory be held in large pages, as far as there are some.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn ask_for_large_pages(begin: NonNull<u8>, length: usize) {
    // SAFETY: the caller has just been given this memory; advice changes nothing of what it holds. Whether it is taken
    // makes no difference but speed.
    unsafe { libc::madvise(begin.as_ptr().cast(), length, libc::MADV_HUGEPAGE) };
}

/// Asks that memory be held in large pages: this system is not asked.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn ask_for_large_pages(_: NonNull<u8>, _: usize) {}

/// Bumped in each child that a fork of this process makes.
static FORKS: AtomicU32 = AtomicU32::new(0);
static FORK_WATCH: OnceCell<()> = OnceCell::new();

extern "C" fn in_forked_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// How many forks lie between this process and the one that first asked [`watch_forks`]: 0 in that process.
pub fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Registers, once a process, the child handler behind [`forks`]. It is the one process-wide effect of the library:
/// asking for the process id at each call would cost a system call, and the kernel's wipe-on-fork pages are younger
/// than the oldest kernel that is supported.
pub fn watch_forks() -> Result<(), Error> {
    FORK_WATCH
        .get_or_try_init(|| {
            // SAFETY: the handler is an `extern "C"` function that lives as long as the library, which is linked
            // so that it is never unloaded; it does nothing but add to an atomic.
            match unsafe { libc::pthread_atfork(None, None, Some(in_forked_child)) } {
                0 => Ok(()),
                _ => Err(Error::new(Code::NoMemory, "the fork watch could not be registered: out of memory")),
            }
        })
        .copied()
}

/// Signals of a fault in the thread itself. They stay open, so that the application's crash handler also hears of a
/// crash in a callback of its own.
const FAULTS: [libc::c_int; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT, libc::SIGSYS];

/// While it lives, all signals but those of [`FAULTS`] are blocked in the thread that made it; threads that it starts
/// inherit that, so that the application's signals are never delivered to a thread of ours.
pub struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    pub fn new() -> Self {
        let mut all = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: sigfillset initialises `all`, pthread_sigmask initialises `before`; neither can fail with a valid
        // `how`, nor sigdelset with a valid number, and only the calling thread's mask changes.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            for fault in FAULTS {
                libc::sigdelset(all.as_mut_ptr(), fault);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Self { before: before.assume_init() }
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: `before` was filled by pthread_sigmask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

/// Sets nice value and affinity of the calling thread; 0 leaves either as it is. Says what was refused.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn settle_thread(nice: i32, cpus: u64) -> Result<(), std::io::Error> {
    if nice != 0 {
        // SAFETY: plain integers; on Linux PRIO_PROCESS with id 0 is the calling thread.
        if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    if cpus != 0 {
        // SAFETY: a zeroed cpu_set_t is the empty set, and CPU_SET stays below its 1024 bits; the call reads the set.
        let refused = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            (0..64).filter(|cpu| cpus >> cpu & 1 == 1).for_each(|cpu| libc::CPU_SET(cpu, &mut set));
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
        };
        if refused != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Nice value and affinity of a single thread cannot be set here.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn settle_thread(nice: i32, cpus: u64) -> Result<(), std::io::Error> {
    if nice == 0 && cpus == 0 { Ok(()) } else { Err(std::io::ErrorKind::Unsupported.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run() {
        let first = monotonic_ns();
        assert!(monotonic_ns() >= first && first > 0);
        let _ = suspended_ns();
    }

    #[test]
    fn all_signals_but_those_of_a_fault_are_blocked_and_the_mask_is_restored() {
        let mask = || {
            let mut now = MaybeUninit::uninit();
            // SAFETY: with a null set the call only reads the mask into `now`; the numbers are those of signals.
            unsafe {
                libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), now.as_mut_ptr());
                let now = now.assume_init();
                (1..=31).filter(|signal| libc::sigismember(&now, *signal) == 1).collect::<Vec<_>>()
            }
        };
        let before = mask();
        let blocked = SignalsBlocked::new();
        let never = [libc::SIGKILL, libc::SIGSTOP];
        let expected: Vec<_> = (1..=31).filter(|signal| !FAULTS.contains(signal) && !never.contains(signal)).collect();
        assert_eq!(mask(), expected);
        drop(blocked);
        assert_eq!(mask(), before);
    }
}
