//! What carried links agree with their peers, made true.

use super::turn::Turn;
use super::*;
use crate::core::{Cause, Policy};
use crate::engine::carrier::Failure;
use crate::engine::talk::{Challenge, Talk};
use crate::net::Connection;
use crate::wire::{Keys, Session};
use std::sync::Arc;

impl Turn<'_> {
    fn talk(&mut self, index: u32) -> Option<&mut Talk> {
        self.turns.rows.get_mut(index)?.beside.carried_mut()?.talk.as_mut()
    }

    /// A new connection: nothing is agreed on it yet.
    pub(super) fn begin_talk(&mut self, index: u32, session: Option<Session>) {
        let session = session.unwrap_or(Session { mine: self.engine.random(), yours: 0 });
        let Some(carried) = self.turns.rows.get_mut(index).and_then(|row| row.beside.carried_mut()) else { return };
        let datagrams = carried.connection.as_ref().is_some_and(Connection::is_datagram);
        let Some(talk) = &mut carried.talk else { return };
        talk.begin(session, datagrams);
        self.agree(index);
    }

    /// The application wants another policy. Where something is agreed with the peer, this one is told first.
    pub(super) fn wish(&mut self, index: u32, policy: Arc<Policy>) {
        let Some(talk) = self.talk(index) else { return self.set_policy(index, policy) };
        talk.wish(policy);
        self.agree(index);
        self.speak(index);
    }

    pub(super) fn set_keys(&mut self, index: u32, keys: Arc<Keys>) {
        self.talk(index).into_iter().for_each(|talk| talk.set_keys(Arc::clone(&keys)));
    }

    /// Puts the policy in force that follows from what is agreed by now.
    pub(super) fn agree(&mut self, index: u32) {
        let Some(policy) = self.talk(index).map(|talk| talk.policy()) else { return };
        if self.turns.rows.get(index).is_some_and(|row| *row.policy != policy) {
            let policy = self.engine.policies.share(&policy);
            self.set_policy(index, policy);
        }
    }

    /// A listener wants to see our address proved, or does not know us any more.
    pub(super) fn meet_challenge(&mut self, index: u32) {
        match self.talk(index).and_then(Talk::take_challenge) {
            None => {}
            Some(Challenge::Forgotten) => self.lose(index, Failure { cause: Cause::Reset, errno: 0 }),
            Some(Challenge::Prove) => {
                // The beat before met nobody: the link's core begins again with the one that is heard.
                let now = self.turns.clock.latest();
                let Some(row) = self.turns.rows.get_mut(index) else { return };
                row.begin(now);
                self.shard.table.words(index).map(|words| words.clear(beat::WANTED | beat::AGAIN));
                self.visit(index, Some(Input::Start { at: now }));
                self.visit(index, Some(Input::Probe));
            }
        }
    }

    /// Beats out of turn where the peer waits for a word and no answer carries it.
    pub(super) fn speak(&mut self, index: u32) {
        let Some(row) = self.turns.rows.get(index) else { return };
        let answers = row.beside.desk().is_some_and(|desk| desk.owes());
        let writes = row.beside.carried().is_some_and(|carried| {
            carried.is_connected() && carried.unwritten.is_empty() && carried.talk.as_ref().is_some_and(Talk::owes)
        });
        if writes && !answers {
            self.visit(index, Some(Input::Probe));
        }
    }
}
