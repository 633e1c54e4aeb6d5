//! What carried links agree with their peers, made true.

use super::turn::Turn;
use super::*;
use crate::core::Policy;
use crate::engine::talk::Talk;
use crate::wire::Keys;
use std::sync::Arc;

impl Turn<'_> {
    fn talk(&mut self, index: u32) -> Option<&mut Talk> {
        self.turns.rows.get_mut(index)?.carried.as_deref_mut()?.talk.as_mut()
    }

    /// A new connection: nothing is agreed on it yet.
    pub(super) fn begin_talk(&mut self, index: u32) {
        let number = self.engine.random();
        let Some(talk) = self.talk(index) else { return };
        talk.begin(number);
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

    /// Beats out of turn where the peer waits for a word and no answer carries it.
    pub(super) fn speak(&mut self, index: u32) {
        let Some(row) = self.turns.rows.get(index) else { return };
        let answers = row.desk.as_ref().is_some_and(|desk| desk.owes());
        let writes = row.carried.as_deref().is_some_and(|carried| {
            carried.is_connected() && carried.unwritten.is_empty() && carried.talk.as_ref().is_some_and(Talk::owes)
        });
        if writes && !answers {
            self.visit(index, Some(Input::Probe));
        }
    }
}
