use super::*;

/// The owner's side: one queued time for each id.
struct Links(Vec<Option<Stamp>>);

impl Links {
    fn new(count: usize) -> Self {
        Self(vec![None; count])
    }

    fn queue(&mut self, wheel: &mut Wheel, id: u32, due: Stamp) {
        self.0[id as usize] = Some(due);
        wheel.insert(id, due);
    }

    fn close(&mut self, id: u32) {
        self.0[id as usize] = None;
    }

    /// All that is due at `now`, in one turn.
    fn due(&mut self, wheel: &mut Wheel, now: Stamp) -> Vec<u32> {
        let mut out = Vec::new();
        assert!(!wheel.advance(now, self, &mut out, usize::MAX));
        wheel.check(self, 0..self.0.len() as u32);
        out
    }
}

impl Queued for Links {
    fn queued(&self, id: u32) -> Option<Stamp> {
        self.0[id as usize]
    }

    fn clear(&mut self, id: u32) {
        self.0[id as usize] = None;
    }
}

const HOUR: u32 = 3_600_000;

/// Just before the stamp wraps.
const START: Stamp = Stamp(u32::MAX - 500);

#[test]
fn ids_come_at_their_tick_and_in_order() {
    let (mut wheel, mut links) = (Wheel::new(START, 1), Links::new(4));
    for (id, after) in [(0, 700), (1, 5), (2, 4095), (3, 4096)] {
        links.queue(&mut wheel, id, START.plus(after));
    }
    assert_eq!(wheel.next_due(&links), Some(START.plus(5)));
    assert_eq!(links.due(&mut wheel, START.plus(4)), []);
    assert_eq!(links.due(&mut wheel, START.plus(5)), [1]);
    assert_eq!(wheel.next_due(&links), Some(START.plus(700)));
    assert_eq!(links.due(&mut wheel, START.plus(4096)), [0, 2, 3]);
    assert_eq!(wheel.next_due(&links), None);
    assert_eq!(wheel.entries(), 0);
}

#[test]
fn a_coarse_tick_rounds_late_never_early() {
    let start = Stamp(1003);
    let (mut wheel, mut links) = (Wheel::new(start, 10), Links::new(2));
    links.queue(&mut wheel, 0, Stamp(1021));
    links.queue(&mut wheel, 1, Stamp(1030));
    let due = wheel.next_due(&links).unwrap();
    assert!((0..10).contains(&due.since(Stamp(1021))));
    assert_eq!(links.due(&mut wheel, due.minus(1)), []);
    assert!(links.due(&mut wheel, due).contains(&0));
}

#[test]
fn what_is_due_already_comes_at_once_also_at_the_same_now() {
    let (mut wheel, mut links) = (Wheel::new(START, 10), Links::new(2));
    let now = START.plus(5_000);
    assert_eq!(links.due(&mut wheel, now), []);
    links.queue(&mut wheel, 0, START);
    links.queue(&mut wheel, 1, now.minus(20));
    assert!(!wheel.next_due(&links).unwrap().is_after(now));
    let mut out = links.due(&mut wheel, now);
    out.sort_unstable();
    assert_eq!(out, [0, 1]);
    assert_eq!(links.due(&mut wheel, now.minus(3_000)), [], "a clock that goes back is not followed");
}

#[test]
fn an_id_with_two_entries_for_one_time_comes_once() {
    for after in [3, 5_000, 2 * HOUR] {
        let (mut wheel, mut links) = (Wheel::new(START, 1), Links::new(1));
        links.queue(&mut wheel, 0, START.plus(after));
        links.queue(&mut wheel, 0, START.plus(2));
        links.queue(&mut wheel, 0, START.plus(after));
        assert_eq!(links.due(&mut wheel, START.plus(after)), [0]);
        assert_eq!(links.due(&mut wheel, START.plus(after + 1)), []);
    }
}

#[test]
fn the_latest_insert_counts() {
    let (mut wheel, mut links) = (Wheel::new(START, 1), Links::new(1));
    links.queue(&mut wheel, 0, START.plus(9_000));
    links.queue(&mut wheel, 0, START.plus(100));
    assert_eq!(wheel.next_due(&links), Some(START.plus(100)));
    links.queue(&mut wheel, 0, START.plus(20_000));
    assert_eq!(wheel.next_due(&links), Some(START.plus(20_000)));
    assert_eq!(links.due(&mut wheel, START.plus(19_999)), []);
    assert_eq!(links.due(&mut wheel, START.plus(20_000)), [0]);
}

#[test]
fn one_link_at_24_h_is_one_wake_up() {
    for tick_ms in [1, 10, 1000] {
        let (mut wheel, mut links) = (Wheel::new(START, tick_ms), Links::new(1));
        links.queue(&mut wheel, 0, START.plus(24 * HOUR));
        let due = wheel.next_due(&links).unwrap();
        assert!((0..tick_ms as i32).contains(&due.since(START.plus(24 * HOUR))));
        assert_eq!(links.due(&mut wheel, due), [0]);
        assert_eq!(wheel.next_due(&links), None);
        assert!(wheel.looked_at() < 10);
    }
}

#[test]
fn closed_links_wake_nobody() {
    let (mut wheel, mut links) = (Wheel::new(START, 1), Links::new(100));
    for id in 0..100 {
        links.queue(&mut wheel, id, START.plus(10 + id * id * 5_000));
    }
    (0..99).for_each(|id| links.close(id));
    assert_eq!(wheel.next_due(&links), Some(START.plus(10 + 99 * 99 * 5_000)));
    links.close(99);
    assert_eq!(wheel.next_due(&links), None);
    assert_eq!(wheel.entries(), 0, "met and dropped");
}

#[test]
fn deadlines_up_to_the_horizon_and_beyond_come_on_time() {
    let edges = [
        4_095,
        4_096,
        1 << 22,
        (1 << 22) - 1,
        (1 << 22) + 1024,
        1023 << 20,
        (1023 << 20) - 1,
        (1 << 30) - 1,
        1 << 30,
        (1 << 30) + (3 << 20),
        i32::MAX as u32 - 1000,
    ];
    for start in [Stamp(0), Stamp(1), Stamp((1 << 20) - 1), Stamp(1023), START] {
        for tick_ms in [1, 7, 1000] {
            for after in edges {
                let (mut wheel, mut links) = (Wheel::new(start, tick_ms), Links::new(1));
                links.queue(&mut wheel, 0, start.plus(after));
                let wake_ups = if after < 1023 << 20 { 1 } else { 3 };
                assert_wakes_at(&mut wheel, &mut links, start.plus(after), wake_ups);
            }
        }
    }
}

/// Sleeps from deadline to deadline until id 0 comes, at `due`, after at most `wake_ups`.
fn assert_wakes_at(wheel: &mut Wheel, links: &mut Links, due: Stamp, wake_ups: usize) {
    for _ in 0..wake_ups {
        let woken = wheel.next_due(links).expect("queued");
        if links.due(wheel, woken) == [0] {
            assert!((0..wheel.tick_ms as i32).contains(&woken.since(due)), "{woken:?} for {due:?}");
            return;
        }
        assert!(due.is_after(woken));
    }
    panic!("more than {wake_ups} wake-ups until {due:?}");
}

#[test]
fn a_parked_id_does_not_hide_an_earlier_one() {
    let (mut wheel, mut links) = (Wheel::new(Stamp(1 << 19), 1), Links::new(2));
    let parked = Stamp(1 << 19).plus((1 << 30) + (1 << 19));
    links.queue(&mut wheel, 0, parked);
    assert_eq!(links.due(&mut wheel, Stamp((1 << 20) + 5)), []);
    links.queue(&mut wheel, 1, parked.minus(1000));
    let mut woken = Vec::new();
    while let Some(due) = wheel.next_due(&links) {
        woken.push((links.due(&mut wheel, due), due));
    }
    assert!(woken.len() <= 3);
    woken.retain(|(out, _)| !out.is_empty());
    assert_eq!(woken, [(vec![1], parked.minus(1000)), (vec![0], parked)]);
}

#[test]
fn hours_of_pause_are_skipped_not_walked() {
    let (mut wheel, mut links) = (Wheel::new(START, 1), Links::new(1000));
    for id in 0..1000 {
        links.queue(&mut wheel, id, START.plus((id + 1) * 40_000));
    }
    assert_eq!(links.due(&mut wheel, START.plus(12 * HOUR)), (0..1000).collect::<Vec<_>>());
    assert!(wheel.looked_at() <= 3 * 1000, "each id once a level: {}", wheel.looked_at());
}

#[test]
fn mass_death_is_drained_in_batches() {
    const COUNT: u32 = 100_000;
    for after in [50, 20_000, 3 * HOUR] {
        let (mut wheel, mut links) = (Wheel::new(START, 1), Links::new(COUNT as usize));
        (0..COUNT).for_each(|id| links.queue(&mut wheel, id, START.plus(after)));
        let (mut out, mut turns) = (Vec::new(), 0);
        let mut looked_at = wheel.looked_at();
        while wheel.advance(START.plus(after), &mut links, &mut out, 1000) {
            turns += 1;
            assert!(wheel.looked_at() - looked_at < 1000 + 15);
            looked_at = wheel.looked_at();
            assert!(!wheel.next_due(&links).unwrap().is_after(START.plus(after)));
        }
        wheel.check(&links, 0..COUNT);
        assert!((COUNT / 1000 - 1..=3 * COUNT / 1000).contains(&turns));
        out.sort_unstable();
        assert!(out.into_iter().eq(0..COUNT));
    }
}

/// The steady state of the 1 M workload: each link comes every 30 s, phases spread evenly.
#[test]
fn a_million_links_cost_4_bytes_each_and_no_tick_stalls() {
    const COUNT: u32 = 1_000_000;
    const PERIOD: u32 = 30_000;
    let (mut wheel, mut links) = (Wheel::new(START, 1), Links::new(COUNT as usize));
    for id in 0..COUNT {
        let phase = (u64::from(id) * 618_033_989 % u64::from(PERIOD)) as u32;
        links.queue(&mut wheel, id, START.plus(1 + phase));
    }
    let filled = wheel.bytes();
    assert!(filled < 5_000_000, "{filled} bytes");

    let (mut out, mut most, mut fired) = (Vec::new(), 0, 0);
    for ms in 1..=PERIOD + 5_000 {
        let (now, looked_at) = (START.plus(ms), wheel.looked_at());
        out.clear();
        assert!(!wheel.advance(now, &mut links, &mut out, usize::MAX));
        let worked = wheel.looked_at() - looked_at;
        assert!(ms > 1 || worked < SWEEP_TURN as u64 + 200, "{worked} right after a million inserts");
        most = most.max(if ms > 1 { worked } else { 0 });
        fired += out.len();
        for &id in &out {
            links.queue(&mut wheel, id, now.plus(PERIOD));
        }
        assert!(wheel.next_due(&links).is_some());
    }
    assert!(fired > 1_160_000, "{fired}");
    // Some 34 ids fire a tick, as many move down, and a sweep looks at 64 and four times the inserts.
    assert!(most < 400, "{most} entries looked at in one tick");
    assert_eq!(wheel.entries(), COUNT as usize);
    assert!(wheel.bytes() < 5_400_000, "{} bytes", wheel.bytes());
    wheel.check(&links, 0..COUNT);
}

#[test]
fn reuse_does_not_pile_up_entries() {
    const COUNT: u32 = 500;
    let (mut wheel, mut links) = (Wheel::new(START, 1), Links::new(COUNT as usize));
    let mut most = 0;
    for round in 0..2_000 {
        let now = START.plus(round);
        for id in 0..COUNT {
            links.close(id);
            links.queue(&mut wheel, id, now.plus(24 * HOUR + id));
        }
        let mut out = Vec::new();
        assert!(!wheel.advance(now, &mut links, &mut out, 64));
        assert!(out.is_empty());
        most = most.max(wheel.entries());
    }
    wheel.check(&links, 0..COUNT);
    assert!(most < 2 * SWEEP_FLOOR, "{most} entries for {COUNT} links");
    assert!(wheel.bytes() < 400_000, "{} bytes", wheel.bytes());
    let due = START.plus(1_999 + 24 * HOUR);
    assert_eq!(links.due(&mut wheel, due.plus(COUNT)).len(), COUNT as usize);
}
