//! What a poller found.
//!
//! Around each wait `polling` sets a timer and arms it and its notifier anew: five system calls, a tenth of what carried
//! links cost. On Linux its descriptor is asked directly, and it itself only after a wake.

use std::time::Duration;

pub use system::Ready;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use super::Duration;
    use polling::{Events, Poller};
    use std::os::fd::{AsRawFd, RawFd};

    const ROOM: usize = 1024;
    /// The key that `polling` keeps for its notifier.
    const WAKE: u64 = usize::MAX as u64;

    /// What a poller found. It has room from the first look on.
    #[derive(Default)]
    pub struct Ready(Vec<libc::epoll_event>);

    impl Ready {
        #[cfg(test)]
        pub fn with_room(room: usize) -> Self {
            Self(Vec::with_capacity(room))
        }

        /// The keys of the sockets that are ready; each says itself for what.
        pub fn keys(&self) -> impl Iterator<Item = usize> + '_ {
            self.0.iter().map(|event| event.u64).filter(|&key| key != WAKE).map(|key| key as usize)
        }

        /// More may be ready than there was room for.
        pub fn is_full(&self) -> bool {
            self.0.len() == self.0.capacity()
        }

        /// Interrupted or refused: nothing is ready, and who asked comes again.
        pub fn look(&mut self, poller: &Poller, timeout: Option<Duration>) {
            self.0.clear();
            let epoll = poller.as_raw_fd();
            if timeout != Some(Duration::ZERO) && !becomes_ready(epoll, timeout) {
                return;
            }
            if self.0.capacity() == 0 {
                self.0.reserve_exact(ROOM);
            }
            let room = i32::try_from(self.0.capacity()).unwrap_or(i32::MAX);
            // SAFETY: there is room for as many, and as many as it says are written.
            unsafe {
                let found = libc::epoll_wait(epoll, self.0.as_mut_ptr(), room, 0);
                self.0.set_len(usize::try_from(found).unwrap_or(0));
            }
            if self.0.iter().any(|event| event.u64 == WAKE) {
                // Takes note of the wake. The sockets that it finds stay ready.
                let _ = poller.wait(&mut Events::new(), Some(Duration::ZERO));
            }
        }
    }

    /// `epoll_wait` itself knows whole milliseconds only.
    fn becomes_ready(epoll: RawFd, timeout: Option<Duration>) -> bool {
        let mut watched = libc::pollfd { fd: epoll, events: libc::POLLIN, revents: 0 };
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let limit = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: one descriptor, and a time or none, that outlive the call.
        unsafe { libc::ppoll(&mut watched, 1, limit, std::ptr::null()) > 0 }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use super::Duration;
    use polling::{Events, Poller};

    /// What a poller found. It has room from the first look on.
    #[derive(Default)]
    pub struct Ready(Option<Events>);

    impl Ready {
        #[cfg(test)]
        pub fn with_room(room: usize) -> Self {
            Self(room.try_into().ok().map(Events::with_capacity))
        }

        /// The keys of the sockets that are ready; each says itself for what.
        pub fn keys(&self) -> impl Iterator<Item = usize> + '_ {
            self.0.iter().flat_map(Events::iter).map(|event| event.key)
        }

        /// More may be ready than there was room for; the poller itself takes a place or two.
        pub fn is_full(&self) -> bool {
            self.0.as_ref().is_some_and(|found| self.keys().count() + 2 >= found.capacity().get())
        }

        /// Interrupted or refused: nothing is ready, and who asked comes again.
        pub fn look(&mut self, poller: &Poller, timeout: Option<Duration>) {
            let found = self.0.get_or_insert_with(Events::new);
            found.clear();
            let _ = poller.wait(found, timeout);
        }
    }
}
