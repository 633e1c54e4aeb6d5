//! What a carried link that speaks heart says beside its beats, and what its peer's frames are worth: which connection they
//! belong to, their seal, and what both ends agreed on. Bytes in, bytes out: no socket, no clock.

use crate::core::{Agreed, Agreement, Cause, IdleOn, Offer, Policy, Strategy};
use crate::wire::{Fields, Inbound, Keys, Rejection, SEAL_LENGTH, Seal, Session, Terms, Told};
use std::sync::Arc;

/// One link's, from connection to connection.
pub struct Talk {
    /// The policy that the application wants. What is in force may differ from it, see [`policy`](Self::policy).
    wished: Arc<Policy>,
    keys: Option<Arc<Keys>>,
    agreement: Agreement,
    /// The numbers of this connection, where its frames say them.
    session: Option<Session>,
    /// The peer has shown that it knows our number: its own is certain.
    proved: bool,
    seal: Option<Seal>,
    refused: Option<Cause>,
    owes: bool,
    /// Frames travel each by itself: they may be lost, and overtake each other.
    datagrams: bool,
    /// Of datagrams: the newest beat and answer of the peer so far.
    newest: [Option<u32>; 2],
    /// Of datagrams: number and send time of our latest beat, which a challenge must repeat.
    asked: Option<(u32, u64)>,
    challenge: Option<Challenge>,
}

/// What a listener's challenge means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Challenge {
    /// It wants to see that our address is ours: a beat that says so is due.
    Prove,
    /// It knows nothing of the connection any more.
    Forgotten,
}

/// What a frame of the peer's is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Worth {
    /// It proves life, and what it says counts.
    pub counts: bool,
    /// It is newer than all before it.
    pub fresh: bool,
    /// It is answered if it wants to be.
    pub answered: bool,
    /// It was refused, and a peer that sends nothing better is given up for this cause.
    pub refused: Option<Cause>,
}

impl Worth {
    const FULL: Self = Self { counts: true, fresh: true, answered: true, refused: None };
    const NONE: Self = Self { counts: false, fresh: false, answered: false, refused: None };

    /// On a link about whose frames nothing more is known than what they are.
    pub const fn of(inbound: &Inbound<'_>) -> Self {
        match inbound {
            Inbound::Rejected(rejection) => Self::refused(cause_of(*rejection)),
            Inbound::Challenge { .. } => Self::NONE,
            Inbound::Beat { .. } | Inbound::Answer { .. } | Inbound::Message => Self::FULL,
        }
    }

    const fn refused(cause: Cause) -> Self {
        Self { refused: Some(cause), ..Self::NONE }
    }
}

/// Where a frame belongs.
enum Place {
    /// To this connection.
    Here,
    /// Its sender does not know our number yet.
    Unknown,
    /// To another connection.
    Elsewhere,
    /// It is one of our own.
    Ours,
}

impl Talk {
    /// Before the first connection.
    pub fn new(wished: Arc<Policy>, keys: Option<Arc<Keys>>) -> Self {
        let agreement = Agreement::new(offer(&wished));
        Self {
            wished,
            keys,
            agreement,
            session: None,
            proved: false,
            seal: None,
            refused: None,
            owes: false,
            datagrams: false,
            newest: [None; 2],
            asked: None,
            challenge: None,
        }
    }

    /// A new connection, of which nothing is known but our own number for it, and that of a peer that has proved to know
    /// ours.
    pub fn begin(&mut self, session: Session, datagrams: bool) {
        let session = Session { mine: session.mine.max(1), ..session };
        self.agreement = Agreement::new(offer(&self.wished));
        self.session = (datagrams || self.keys.is_some()).then_some(session);
        self.seal = self.keys.clone().map(Seal::new);
        self.seal.iter_mut().for_each(|seal| seal.bind(session.mine));
        (self.proved, self.refused, self.owes) = (session.yours != 0, None, false);
        (self.datagrams, self.newest, self.asked, self.challenge) = (datagrams, [None; 2], None, None);
    }

    /// Whether frames travel each by itself.
    pub fn is_over_datagrams(&self) -> bool {
        self.datagrams
    }

    /// A beat of that number leaves, with that send time in it.
    pub fn ask(&mut self, sequence: u32, sent_us: u64) {
        self.asked = Some((sequence, sent_us));
    }

    /// The challenge that was heard since this was asked last.
    pub fn take_challenge(&mut self) -> Option<Challenge> {
        self.challenge.take()
    }

    /// Other keys, on a link that is sealed; the connection goes on.
    pub fn set_keys(&mut self, keys: Arc<Keys>) {
        self.seal.iter_mut().for_each(|seal| seal.set_keys(Arc::clone(&keys)));
        self.keys = Some(keys);
    }

    /// The application wants another policy.
    pub fn wish(&mut self, policy: Arc<Policy>) {
        let told = self.agreement.unacknowledged();
        self.agreement.propose(offer(&policy));
        self.wished = policy;
        self.owes |= self.agreed().is_some() && self.agreement.unacknowledged() != told;
    }

    /// What is agreed; `None` with a peer that says no terms.
    pub fn agreed(&self) -> Option<Agreed> {
        self.agreement.in_force()
    }

    /// The policy that is in force: the wished one, with the rhythm that is agreed, and as much patience as goes with it.
    pub fn policy(&self) -> Policy {
        let Some(agreed) = self.agreed() else { return *self.wished };
        let policy = self.policy_by(&agreed);
        // The rhythm of before and the rest of a new policy may contradict each other; then the new one counts at once.
        if policy.check().is_ok() { policy } else { self.policy_by(&self.agreement.wished().unwrap_or(agreed)) }
    }

    fn policy_by(&self, agreed: &Agreed) -> Policy {
        let wished = &*self.wished;
        // The core's deadlines stay comparable, whatever the peer wants.
        let most_ms = Policy::MAX_MS.saturating_sub(wished.tries.saturating_mul(wished.timeout_ms));
        // A peer that cannot be asked must not be given up in the millisecond in which its beat is due.
        let slack_ms = if wished.probes() { 0 } else { wished.timeout_ms };
        let patience_ms = agreed.hold_ms.max(agreed.receive_ms.saturating_add(slack_ms));
        let hold_time_ms = if wished.hold_time_ms == 0 { 0 } else { wished.hold_time_ms.max(patience_ms) };
        let least_ms = wished.least_ms.min(self.agreement.least_ms());
        let interval_ms = agreed.send_ms.min(most_ms);
        // The peer counts on hearing something each interval, however much it says itself.
        let promises = interval_ms > 0 && wished.strategy == Strategy::Idle;
        Policy {
            interval_ms,
            idle_on: if promises { IdleOn::Either } else { wished.idle_on },
            hold_time_ms: hold_time_ms.min(most_ms),
            least_ms,
            strikes: if least_ms == 0 { 0 } else { wished.strikes },
            ..*wished
        }
    }

    /// What the silence is to be called that follows: set while the latest that came was refused.
    pub fn refused(&self) -> Option<Cause> {
        self.refused
    }

    /// Whether the peer waits for something that the next frame says, whichever it is.
    pub fn owes(&self) -> bool {
        self.owes
    }

    /// What must be right about each message; `None` where nothing is sealed.
    pub fn seal(&mut self) -> Option<&mut Seal> {
        self.seal.as_mut()
    }

    /// Writes a frame with all that is to be said in it: `build` makes it of the fields. Gives its length; `None`: it did not fit.
    pub fn write(
        &mut self,
        fields: Fields<'_>,
        out: &mut [u8],
        build: impl FnOnce(&Fields<'_>, &mut [u8]) -> Option<usize>,
    ) -> Option<usize> {
        let reserve = if self.seal.is_some() { SEAL_LENGTH as u16 } else { 0 };
        let fields = Fields {
            session: self.session,
            terms: self.terms(),
            reserve,
            datagram: self.datagrams,
            // Who is not known yet wants to hear whether he arrives.
            one_way: fields.one_way && (self.proved || !self.datagrams),
            ..fields
        };
        let length = build(&fields, out)?;
        self.owes = false;
        match &mut self.seal {
            Some(seal) => seal.close(out, length),
            None => Some(length),
        }
    }

    fn terms(&mut self) -> Option<Terms> {
        let (generation, acknowledged, Offer { interval_ms, least_ms, hold_ms }) = self.agreement.outgoing()?;
        let capabilities = Terms::CAN_STATE | if self.keys.is_some() { Terms::CAN_SEAL } else { 0 };
        Some(Terms { generation, acknowledged, interval_ms, least_ms, hold_ms, capabilities })
    }

    /// Says what a message that passed the seal is worth, and takes over what it says.
    pub fn hear(&mut self, inbound: &Inbound<'_>) -> Worth {
        let worth = self.judge(inbound);
        match worth.refused {
            Some(cause) => self.refused = Some(cause),
            None if worth.counts => self.refused = None,
            None => {}
        }
        worth
    }

    fn judge(&mut self, inbound: &Inbound<'_>) -> Worth {
        let (told, asks, sequence) = match inbound {
            Inbound::Beat { sequence, told, .. } => (told, true, *sequence),
            Inbound::Answer { sequence, told, .. } => (told, false, *sequence),
            Inbound::Challenge { sequence, echo_us, told } if self.datagrams => {
                self.hear_challenge((*sequence, *echo_us), told.session);
                return Worth::NONE;
            }
            // Nothing says which connection it belongs to.
            Inbound::Message if self.datagrams => return Worth::NONE,
            other => return Worth::of(other),
        };
        match self.place(told.session) {
            Place::Here => {
                let fresh = self.is_newest(asks, sequence);
                self.take_over(told, asks, fresh);
                Worth { fresh, ..Worth::FULL }
            }
            // Nobody is answered who has not proved his address; that is the listener's business.
            Place::Unknown | Place::Elsewhere if self.datagrams => {
                Worth { refused: self.seal.is_some().then_some(Cause::Unauthenticated), ..Worth::NONE }
            }
            Place::Unknown => {
                self.owes |= asks;
                Worth { answered: true, ..Worth::NONE }
            }
            Place::Elsewhere => {
                self.owes |= asks;
                let refused = self.seal.is_some().then_some(Cause::Unauthenticated);
                Worth { answered: true, refused, ..Worth::NONE }
            }
            // Answered, it would bring itself to life.
            Place::Ours => Worth::refused(Cause::Unauthenticated),
        }
    }

    /// Where a frame with these numbers belongs; learns the peer's.
    fn place(&mut self, told: Option<Session>) -> Place {
        let Some(session) = &mut self.session else { return Place::Here };
        let Some(Session { mine: theirs, yours: ours }) = told else { return Place::Unknown };
        if theirs == session.mine {
            return Place::Ours;
        }
        let here = ours == session.mine;
        if here || !(self.proved || self.datagrams) {
            session.yours = theirs;
        }
        self.proved |= here;
        match ours {
            _ if here => Place::Here,
            0 => Place::Unknown,
            _ => Place::Elsewhere,
        }
    }

    /// What a listener says that does not know us yet, or no longer. Only who saw our beat can repeat its number and time.
    fn hear_challenge(&mut self, repeats: (u32, u64), told: Option<Session>) {
        let (Some(session), Some(Session { mine: cookie, yours: ours })) = (&mut self.session, told) else { return };
        if ours != session.mine || self.asked != Some(repeats) || session.yours == cookie {
            return;
        }
        if self.proved {
            self.challenge = Some(Challenge::Forgotten);
        } else {
            session.yours = cookie;
            self.challenge = Some(Challenge::Prove);
        }
    }

    /// Whether a frame of that number is newer than all before it.
    fn is_newest(&mut self, asks: bool, sequence: u32) -> bool {
        let newest = &mut self.newest[usize::from(asks)];
        let fresh = !self.datagrams || newest.is_none_or(|newest| (sequence.wrapping_sub(newest) as i32) >= 0);
        if fresh {
            *newest = Some(sequence);
        }
        fresh
    }

    fn take_over(&mut self, told: &Told<'_>, asks: bool, fresh: bool) {
        if let Some(Terms { generation, acknowledged, interval_ms, least_ms, hold_ms, .. }) = told.terms {
            let before = self.agreement.unacknowledged();
            self.agreement.heard(generation, acknowledged, Offer { interval_ms, least_ms, hold_ms });
            let next = self.agreement.unacknowledged().filter(|next| Some(*next) != before);
            self.owes |= (asks && generation != 0) || next.is_some();
        }
        if fresh {
            self.agreement.heard_next_due(told.next_due_ms);
        }
    }
}

/// What the application's policy means for the peer.
fn offer(policy: &Policy) -> Offer {
    Offer { interval_ms: policy.interval_ms, least_ms: policy.least_ms, hold_ms: policy.hold_time_ms }
}

/// What a peer that says nothing better than this is given up for.
const fn cause_of(rejection: Rejection) -> Cause {
    match rejection {
        Rejection::Unsealed
        | Rejection::UnknownKey(_)
        | Rejection::Forged
        | Rejection::Replayed
        | Rejection::NoSession
        | Rejection::SealLength(_)
        | Rejection::SealNotLast => Cause::Unauthenticated,
        _ => Cause::ProtocolError,
    }
}

#[cfg(test)]
mod tests;
