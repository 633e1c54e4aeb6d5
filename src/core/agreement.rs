//! What two ends that both beat make of each other's wishes. Numbers only: how they travel is not known here. The rules are
//! in `docs/decisions.md`, section Agreement.
//!
//! All times in milliseconds. Wishes above [`Policy::MAX_MS`] count as that.

use super::Policy;

/// What one end would like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Offer {
    /// It would like to beat that often; 0 = only when asked.
    pub interval_ms: u32,
    /// It does not want beats more often than that; 0 = any will do.
    pub least_ms: u32,
    /// It would like to tolerate that much silence; 0 = it does not say.
    pub hold_ms: u32,
}

/// What comes of two offers, as one end sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Agreed {
    /// How often this end beats; 0 = only when asked.
    pub send_ms: u32,
    /// How often the peer beats; 0 = only when asked.
    pub receive_ms: u32,
    /// The silence that this end tolerates, at least: never less than `receive_ms`, which is all of it where this end does not say.
    pub hold_ms: u32,
    /// The silence that the peer tolerates, at least: never less than `send_ms`.
    pub peer_hold_ms: u32,
}

/// What both ends come to: `agree(a, b).send_ms == agree(b, a).receive_ms`, and so for the silence.
#[must_use]
pub fn agree(mine: &Offer, theirs: &Offer) -> Agreed {
    let (mine, theirs) = (mine.clamped(), theirs.clamped());
    let (send_ms, receive_ms) = (rhythm_ms(&mine, &theirs), rhythm_ms(&theirs, &mine));
    Agreed { send_ms, receive_ms, hold_ms: mine.hold_ms.max(receive_ms), peer_hold_ms: theirs.hold_ms.max(send_ms) }
}

/// How often `sender` beats: as it likes, but not more often than `receiver` wants.
fn rhythm_ms(sender: &Offer, receiver: &Offer) -> u32 {
    if sender.interval_ms == 0 { 0 } else { sender.interval_ms.max(receiver.least_ms) }
}

impl Offer {
    fn clamped(self) -> Self {
        let clamp = |ms: u32| ms.min(Policy::MAX_MS);
        Self { interval_ms: clamp(self.interval_ms), least_ms: clamp(self.least_ms), hold_ms: clamp(self.hold_ms) }
    }
}

/// One end of one connection. A new connection needs a new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreement {
    /// Ours, as it is in force: the peer acknowledged it, or it is the first.
    mine: Offer,
    /// Ours, as told in `generation` and not yet acknowledged. The peer may have taken it over or not.
    told: Option<Offer>,
    /// Ours, to be told when the one before is acknowledged. So the peer is never more than one generation behind.
    next: Option<Offer>,
    /// Of the newest that was told; never 0.
    generation: u16,
    /// The peer's newest offer and its generation.
    theirs: Option<(Offer, u16)>,
    /// It was heard again, so it is to be acknowledged.
    owes: bool,
    /// Of before the last change: tolerated until the peer says that it beats as is agreed now.
    before: Option<Agreed>,
}

impl Agreement {
    /// Begins with an offer, which is in force at this end from the start: the peer cannot have known another.
    #[must_use]
    pub fn new(mine: Offer) -> Self {
        let mine = mine.clamped();
        Self { mine, told: Some(mine), next: None, generation: 1, theirs: None, owes: false, before: None }
    }

    /// A live change of our offer: announced, and in force when the peer acknowledged it. While an earlier change is on its way the
    /// newest one waits for it. An offer that is the newest already changes nothing.
    pub fn propose(&mut self, mine: Offer) {
        let mine = mine.clamped();
        match self.told {
            Some(told) => self.next = (told != mine).then_some(mine),
            None if self.mine != mine => self.tell(mine),
            None => {}
        }
    }

    /// What the next frame says of it: generation, acknowledged, offer; `None`: nothing. Generation 0 only acknowledges. To be
    /// called once for each frame that has room for it; what is lost is said again, as the peer's offer comes again or ours is not
    /// acknowledged.
    #[must_use]
    pub fn outgoing(&mut self) -> Option<(u16, u16, Offer)> {
        let acknowledged = self.theirs.map_or(0, |(_, generation)| generation);
        let owes = std::mem::take(&mut self.owes);
        match self.told {
            Some(told) => Some((self.generation, acknowledged, told)),
            None => owes.then_some((0, acknowledged, self.mine)),
        }
    }

    /// The peer said this of it. `true`: what is in force is another than before.
    pub fn heard(&mut self, generation: u16, acknowledged: u16, theirs: Offer) -> bool {
        let before = self.in_force();
        let is_new = generation != 0 && self.theirs.is_none_or(|(_, newest)| is_newer(generation, newest));
        if is_new {
            self.theirs = Some((theirs.clamped(), generation));
        }
        // Repeated: our acknowledgement may be lost. Older: overtaken, and its sender knows better by now.
        self.owes |= generation != 0 && self.theirs.is_some_and(|(_, newest)| newest == generation);
        let is_acknowledged = acknowledged == self.generation && self.told.is_some();
        if is_acknowledged {
            self.acknowledge();
        }
        if is_new || is_acknowledged {
            self.before = before;
        }
        self.in_force() != before
    }

    /// The peer's next beat comes within that many milliseconds, it says; 0 = it does not say. From a frame that is newer than all others so far (by its
    /// sequence, where frames can overtake each other), after what it says to [`heard`](Self::heard). When it is what is agreed now, the
    /// silence of before is no longer tolerated.
    pub fn heard_next_due(&mut self, next_due_ms: u32) {
        let Some(agreed) = self.without_before() else { return };
        let says_so = (next_due_ms == 0) == (agreed.receive_ms == 0) && next_due_ms <= agreed.receive_ms;
        if says_so {
            self.before = None;
        }
    }

    /// What is in force; `None` before the peer's offer was heard. What this end may expect of the peer is the longest of all that the
    /// peer may rightly hold to be in force: a healthy one is never judged by a rhythm that it does not know.
    #[must_use]
    pub fn in_force(&self) -> Option<Agreed> {
        let agreed = self.without_before()?;
        Some(self.before.map_or(agreed, |before| longer(agreed, before)))
    }

    /// What would be in force if the peer had acknowledged the newest wish; `None` before its offer was heard.
    #[must_use]
    pub fn wished(&self) -> Option<Agreed> {
        let (theirs, _) = self.theirs?;
        Some(agree(&self.next.or(self.told).unwrap_or(self.mine), &theirs))
    }

    /// The least time between its beats that the peer may rightly hold to be wanted.
    #[must_use]
    pub fn least_ms(&self) -> u32 {
        self.told.map_or(self.mine.least_ms, |told| self.mine.least_ms.min(told.least_ms))
    }

    /// The generation that was told and is not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> Option<u16> {
        self.told.map(|_| self.generation)
    }

    fn without_before(&self) -> Option<Agreed> {
        let (theirs, _) = self.theirs?;
        let agreed = agree(&self.mine, &theirs);
        Some(self.told.map_or(agreed, |told| longer(agreed, agree(&told, &theirs))))
    }

    fn tell(&mut self, mine: Offer) {
        self.told = Some(mine);
        self.generation = self.generation.checked_add(1).unwrap_or(1);
    }

    fn acknowledge(&mut self) {
        self.mine = self.told.take().unwrap_or(self.mine);
        if let Some(next) = self.next.take() {
            self.propose(next);
        }
    }
}

/// What this end does by `agreed`, and what it expects by whichever is longer.
fn longer(agreed: Agreed, other: Agreed) -> Agreed {
    Agreed { receive_ms: agreed.receive_ms.max(other.receive_ms), hold_ms: agreed.hold_ms.max(other.hold_ms), ..agreed }
}

/// Of two generations less than half their circle apart (RFC 1982). 0 is none of them, which shortens the circle by one and
/// changes nothing for neighbours.
fn is_newer(generation: u16, than: u16) -> bool {
    let ahead = generation.wrapping_sub(than);
    ahead != 0 && ahead < 1 << 15
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn offer(interval_ms: u32, least_ms: u32, hold_ms: u32) -> Offer {
        Offer { interval_ms, least_ms, hold_ms }
    }

    /// A frame, as far as it matters here.
    #[derive(Clone, Copy, Debug)]
    struct Frame {
        sequence: u32,
        terms: Option<(u16, u16, Offer)>,
        next_due_ms: u32,
    }

    /// One end: its agreement, and what it does with frames.
    struct End {
        agreement: Agreement,
        sent: u32,
        newest: u32,
        /// Of the newest frame.
        last_due_ms: u32,
        wished: Offer,
    }

    impl End {
        fn new(wished: Offer) -> Self {
            Self { agreement: Agreement::new(wished), sent: 0, newest: 0, last_due_ms: 0, wished }
        }

        fn propose(&mut self, wished: Offer) {
            self.wished = wished;
            self.agreement.propose(wished);
        }

        /// How often it beats now.
        fn rhythm_ms(&self) -> u32 {
            self.agreement.in_force().map_or(self.agreement.mine.interval_ms, |agreed| agreed.send_ms)
        }

        fn frame(&mut self) -> Frame {
            self.sent += 1;
            let terms = self.agreement.outgoing();
            Frame { sequence: self.sent, terms, next_due_ms: self.rhythm_ms() }
        }

        fn hear(&mut self, frame: Frame) {
            if let Some((generation, acknowledged, theirs)) = frame.terms {
                let before = self.agreement.in_force();
                let changed = self.agreement.heard(generation, acknowledged, theirs);
                assert_eq!(changed, self.agreement.in_force() != before);
            }
            if frame.sequence > self.newest {
                (self.newest, self.last_due_ms) = (frame.sequence, frame.next_due_ms);
                self.agreement.heard_next_due(frame.next_due_ms);
            }
        }
    }

    /// Frames there and back, none lost.
    fn talk(a: &mut End, b: &mut End, rounds: usize) {
        for _ in 0..rounds {
            let frame = a.frame();
            b.hear(frame);
            let frame = b.frame();
            a.hear(frame);
        }
    }

    fn agreed(end: &End) -> Agreed {
        end.agreement.in_force().expect("the peer spoke")
    }

    #[test]
    fn each_beats_as_it_likes_but_not_more_often_than_the_other_wants() {
        let agreed = agree(&offer(1_000, 200, 9_000), &offer(100, 5_000, 0));
        assert_eq!(agreed, Agreed { send_ms: 5_000, receive_ms: 200, hold_ms: 9_000, peer_hold_ms: 5_000 });
        let asked = agree(&offer(0, 0, 0), &offer(0, 7, 3));
        assert_eq!(asked, Agreed { send_ms: 0, receive_ms: 0, hold_ms: 0, peer_hold_ms: 3 });
    }

    #[test]
    fn the_largest_numbers_count_as_the_longest_time() {
        let most = Policy::MAX_MS;
        let all = Agreed { send_ms: most, receive_ms: most, hold_ms: most, peer_hold_ms: most };
        assert_eq!(agree(&offer(u32::MAX, 0, 0), &offer(1, u32::MAX, most + 1)).send_ms, most);
        assert_eq!(agree(&offer(u32::MAX, 1, u32::MAX), &offer(u32::MAX, 1, u32::MAX)), all);
        let mut agreement = Agreement::new(offer(u32::MAX, u32::MAX, u32::MAX));
        assert_eq!(agreement.outgoing(), Some((1, 0, offer(most, most, most))));
        assert!(agreement.heard(1, 1, offer(u32::MAX, 0, 0)));
        assert_eq!(agreement.in_force().map(|agreed| agreed.receive_ms), Some(most));
    }

    #[test]
    fn a_story_of_a_change() {
        let (mut a, mut b) = (End::new(offer(1_000, 0, 3_000)), End::new(offer(2_000, 0, 6_000)));
        assert_eq!(a.agreement.in_force(), None);
        talk(&mut a, &mut b, 2);
        assert_eq!(agreed(&a), Agreed { send_ms: 1_000, receive_ms: 2_000, hold_ms: 3_000, peer_hold_ms: 6_000 });
        assert_eq!((a.agreement.outgoing(), b.agreement.outgoing()), (None, None));

        // A wants to beat and to be beaten at every 10 s. Until B says that it knows, A goes on as before.
        a.propose(offer(10_000, 10_000, 30_000));
        let lost = a.frame();
        assert_eq!((lost.terms, lost.next_due_ms), (Some((2, 1, offer(10_000, 10_000, 30_000))), 1_000));
        // B might have heard it, so A already bears B's longer silence.
        assert_eq!(agreed(&a), Agreed { send_ms: 1_000, receive_ms: 10_000, hold_ms: 30_000, peer_hold_ms: 6_000 });
        let again = a.frame();
        b.hear(again);
        assert_eq!((b.rhythm_ms(), agreed(&b).hold_ms), (10_000, 10_000));
        let frame = b.frame();
        assert_eq!(frame.terms, Some((0, 2, offer(2_000, 0, 6_000))));
        a.hear(frame);
        assert_eq!(agreed(&a), Agreed { send_ms: 10_000, receive_ms: 10_000, hold_ms: 30_000, peer_hold_ms: 10_000 });

        // And back: B bears 10 s of silence until A says that it beats every second.
        a.propose(offer(1_000, 0, 3_000));
        let frame = a.frame();
        b.hear(frame);
        assert_eq!((agreed(&b).hold_ms, b.rhythm_ms()), (10_000, 2_000));
        let frame = b.frame();
        a.hear(frame);
        assert_eq!((agreed(&a).hold_ms, a.rhythm_ms()), (3_000, 1_000));
        let frame = a.frame();
        b.hear(frame);
        assert_eq!(agreed(&b), Agreed { send_ms: 2_000, receive_ms: 1_000, hold_ms: 6_000, peer_hold_ms: 3_000 });
    }

    #[test]
    fn changes_that_come_faster_than_acknowledgements_wait_and_only_the_newest_is_told() {
        let mut a = Agreement::new(offer(1, 0, 0));
        for interval_ms in 2..10 {
            a.propose(offer(interval_ms, 0, 0));
        }
        assert_eq!(a.outgoing(), Some((1, 0, offer(1, 0, 0))));
        a.heard(1, 1, offer(1, 0, 0));
        assert_eq!(a.outgoing(), Some((2, 1, offer(9, 0, 0))));
        // Taken back before it was told.
        a.propose(offer(4, 0, 0));
        a.propose(offer(9, 0, 0));
        a.heard(0, 2, offer(1, 0, 0));
        assert_eq!(a.outgoing(), None);
        // A change to what is in force is none.
        a.propose(offer(9, 0, 0));
        assert_eq!(a.outgoing(), None);
    }

    #[test]
    fn what_was_overtaken_changes_nothing() {
        let mut a = Agreement::new(offer(1_000, 0, 3_000));
        assert!(a.heard(7, 1, offer(2_000, 0, 0)));
        assert_eq!(a.outgoing(), Some((0, 7, offer(1_000, 0, 3_000))));
        assert!(!a.heard(6, 1, offer(9_000, 0, 0)) && !a.heard(0, 1, offer(9_000, 0, 0)));
        assert_eq!(a.outgoing(), None);
        // An acknowledgement of what was never told, or no longer is.
        a.propose(offer(500, 0, 0));
        assert!(!a.heard(0, 1, offer(0, 0, 0)) && !a.heard(0, 9, offer(0, 0, 0)));
        assert_eq!(a.outgoing(), Some((2, 7, offer(500, 0, 0))));
    }

    #[test]
    fn generations_wrap_past_0() {
        let (mut a, mut b) = (End::new(offer(1, 0, 0)), End::new(offer(1, 0, 0)));
        talk(&mut a, &mut b, 2);
        for change in 0..140_000 {
            a.propose(offer(2 + change % 2, 0, 0));
            talk(&mut a, &mut b, 1);
            assert_ne!(a.agreement.generation, 0);
            assert_eq!(agreed(&a).send_ms, 2 + change % 2);
        }
        talk(&mut a, &mut b, 1);
        assert_eq!(agreed(&a).send_ms, agreed(&b).receive_ms);
    }

    fn wishes() -> impl Strategy<Value = Offer> {
        let ms = || prop_oneof![2 => Just(0u32), 6 => 1u32..50, 1 => any::<u32>()];
        (ms(), ms(), ms()).prop_map(|(interval_ms, least_ms, hold_ms)| offer(interval_ms, least_ms, hold_ms))
    }

    /// What happens to one of two ends, or to a frame on its way to it.
    #[derive(Clone, Debug)]
    enum Step {
        Propose(Offer),
        Send,
        /// The frame stays on its way, to arrive again.
        Repeat(prop::sample::Index),
        Arrive(prop::sample::Index),
        Lose(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<(bool, Step)>> {
        let which = any::<prop::sample::Index>;
        let step = prop_oneof![
            2 => wishes().prop_map(Step::Propose),
            6 => Just(Step::Send),
            2 => which().prop_map(Step::Repeat),
            5 => which().prop_map(Step::Arrive),
            1 => which().prop_map(Step::Lose),
        ];
        prop::collection::vec((any::<bool>(), step), 0..200)
    }

    /// Whether `judge` bears the silence that `peer` announced, and that in which it beats now, known or not yet.
    fn is_fair(judge: &End, peer: &End) -> bool {
        let judged = judge.agreement.in_force();
        judged.is_none_or(|judged| judged.hold_ms >= peer.rhythm_ms() && judged.hold_ms >= judge.last_due_ms)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn both_ends_come_to_the_same(a in wishes(), b in wishes()) {
            let (here, there) = (agree(&a, &b), agree(&b, &a));
            prop_assert_eq!((here.send_ms, here.hold_ms), (there.receive_ms, there.peer_hold_ms));
            prop_assert_eq!((here.receive_ms, here.peer_hold_ms), (there.send_ms, there.hold_ms));
            prop_assert!(here.hold_ms >= here.receive_ms && here.peer_hold_ms >= here.send_ms);
            prop_assert!(here.hold_ms <= Policy::MAX_MS && here.peer_hold_ms <= Policy::MAX_MS);
            prop_assert!(here.send_ms == 0 || here.send_ms >= b.least_ms.min(Policy::MAX_MS));
        }

        /// Frames lost, repeated and out of order, changes at any time: no end is ever judged by less than the rhythm in
        /// which it beats. And when the trouble is over, both have what was wished last, and nothing more to say.
        #[test]
        fn nobody_healthy_is_judged_and_both_ends_meet(a in wishes(), b in wishes(), steps in steps()) {
            let mut ends = [End::new(a), End::new(b)];
            let mut on_the_way: [Vec<Frame>; 2] = [Vec::new(), Vec::new()];
            for (side, step) in steps {
                let side = usize::from(side);
                let ways = &mut on_the_way[side];
                match step {
                    Step::Propose(wished) => ends[side].propose(wished),
                    Step::Send => on_the_way[1 - side].push(ends[side].frame()),
                    Step::Repeat(which) | Step::Arrive(which) | Step::Lose(which) if ways.is_empty() => {
                        let _ = which;
                    }
                    Step::Repeat(which) => ends[side].hear(ways[which.index(ways.len())]),
                    Step::Arrive(which) => ends[side].hear(ways.remove(which.index(ways.len()))),
                    Step::Lose(which) => drop(ways.remove(which.index(ways.len()))),
                }
                prop_assert!(is_fair(&ends[0], &ends[1]) && is_fair(&ends[1], &ends[0]), "{:?} {:?}", ends[0].agreement, ends[1].agreement);
            }
            let [mut a, mut b] = ends;
            talk(&mut a, &mut b, 6);
            let [here, there] = [agree(&a.wished, &b.wished), agree(&b.wished, &a.wished)];
            prop_assert_eq!((agreed(&a), agreed(&b)), (here, there));
            prop_assert_eq!((a.agreement.outgoing(), b.agreement.outgoing()), (None, None));
        }

        #[test]
        fn anything_at_all_is_borne(
            mine in wishes(), heard in prop::collection::vec((any::<[u16; 2]>(), wishes(), any::<u32>()), 0..50),
        ) {
            let mut agreement = Agreement::new(mine);
            for ([generation, acknowledged], theirs, next_due_ms) in heard {
                agreement.heard(generation, acknowledged % 4, theirs);
                agreement.heard_next_due(next_due_ms);
                agreement.propose(theirs);
                let _ = agreement.outgoing();
                let in_force = agreement.in_force();
                prop_assert!(in_force.is_none_or(|agreed| agreed.hold_ms >= agreed.receive_ms && agreed.hold_ms <= Policy::MAX_MS));
            }
        }
    }
}
