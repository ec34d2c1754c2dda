//! The rules once more, as naively as they can be written: validators are numbers, proposals stand in one list, and
//! everything is counted anew whenever it is asked for. Written from the rule table; shares no code with the crate but
//! the names of phases and choices, and the hash that breaks a tie.

use governance::{Choice, Phase, ProposalId};

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) powers: Vec<u64>,
    pub(crate) min_lead: u64,
    pub(crate) lock_in: u64,
    /// Approval must exceed this part of the total.
    pub(crate) part: (u64, u64),
    pub(crate) height: u64,
    /// The running version is 1.`minor`.0.
    pub(crate) minor: u64,
    pub(crate) sequences: Vec<u64>,
    pub(crate) proposals: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: ProposalId,
    pub(crate) about: About,
    pub(crate) proposer: usize,
    pub(crate) submitted: u64,
    pub(crate) phase: Phase,
    pub(crate) ended: Option<u64>,
    pub(crate) votes: Vec<Option<Choice>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum About {
    Upgrade { minor: u64, height: u64 },
    Cancel { target: ProposalId },
}

impl Entry {
    fn is_upgrade(&self) -> bool {
        matches!(self.about, About::Upgrade { .. })
    }

    pub(crate) fn votes_count(&self) -> bool {
        self.phase == Phase::Voting || self.phase == Phase::Approved
    }

    fn has_ended(&self) -> bool {
        self.ended.is_some()
    }
}

impl Model {
    pub(crate) fn power(&self, entry: &Entry, choice: Choice) -> u64 {
        (0..self.powers.len())
            .filter(|who| entry.votes[*who] == Some(choice))
            .map(|who| self.powers[who])
            .sum()
    }

    /// GOV-07: more than the part. GOV-08: the rest would not be more than the part.
    fn is_more_than_the_part(&self, power: u64) -> bool {
        let total: u128 = self.powers.iter().map(|power| u128::from(*power)).sum();
        i128::try_from(u128::from(power) * u128::from(self.part.1)).unwrap()
            - i128::try_from(total * u128::from(self.part.0)).unwrap()
            > 0
    }

    fn entry(&self, id: ProposalId) -> Option<usize> {
        self.proposals.iter().position(|entry| entry.id == id)
    }

    fn close_of(&self, entry: &Entry) -> u64 {
        match entry.about {
            About::Upgrade { height, .. } => height - self.lock_in,
            About::Cancel { target } => self.height_of(target) - 1,
        }
    }

    fn height_of(&self, upgrade: ProposalId) -> u64 {
        match self.proposals[self.entry(upgrade).unwrap()].about {
            About::Upgrade { height, .. } => height,
            About::Cancel { .. } => panic!("a cancel has no height"),
        }
    }

    /// GOV-09: among the approved upgrades the earliest height, then the earliest submitted, then the smaller id.
    pub(crate) fn plan(&self) -> Option<&Entry> {
        let mut best: Option<(u64, u64, ProposalId)> = None;
        for entry in &self.proposals {
            let About::Upgrade { height, .. } = entry.about else {
                continue;
            };
            if entry.phase == Phase::Approved || entry.phase == Phase::LockedIn {
                let rank = (height, entry.submitted, entry.id);
                if best.is_none_or(|best| rank < best) {
                    best = Some(rank);
                }
            }
        }
        best.map(|(_, _, id)| &self.proposals[self.entry(id).unwrap()])
    }

    /// The upgrade at whose height the chain stands, after the end of a block.
    pub(crate) fn halted_by(&self) -> Option<&Entry> {
        self.plan()
            .filter(|entry| entry.phase == Phase::LockedIn && self.height_of(entry.id) == self.height)
    }

    pub(crate) fn propose(
        &mut self,
        who: usize,
        id: ProposalId,
        minor: u64,
        height: u64,
    ) -> Result<(), &'static str> {
        self.unused(id)?;
        if minor <= self.minor {
            return Err("GOV-03");
        }
        if height < self.height + self.min_lead {
            return Err("GOV-02");
        }
        let mine = self
            .proposals
            .iter()
            .filter(|entry| entry.proposer == who && entry.is_upgrade() && !entry.has_ended());
        if mine.count() == 4 {
            return Err("GOV-14.live-of-proposer");
        }
        self.submit(who, id, About::Upgrade { minor, height });
        Ok(())
    }

    pub(crate) fn cancel(
        &mut self,
        who: usize,
        id: ProposalId,
        target: ProposalId,
    ) -> Result<(), &'static str> {
        let Some(index) = self.entry(target) else {
            return Err("GOV-11.unknown");
        };
        if !self.proposals[index].is_upgrade() {
            return Err("GOV-11.not-upgrade");
        }
        if self.proposals[index].has_ended() {
            return Err("GOV-11.ended");
        }
        if self.proposals[index].phase != Phase::LockedIn {
            return Err("GOV-11");
        }
        self.unused(id)?;
        if self.height >= self.height_of(target) {
            return Err("GOV-11.late");
        }
        self.submit(who, id, About::Cancel { target });
        Ok(())
    }

    pub(crate) fn vote(&mut self, who: usize, id: ProposalId, choice: Choice) -> Result<(), &'static str> {
        let index = self.votable(id)?;
        self.cast(who, index, choice);
        Ok(())
    }

    pub(crate) fn withdraw(&mut self, who: usize, id: ProposalId) -> Result<(), &'static str> {
        let index = self.votable(id)?;
        if self.proposals[index].votes[who].is_none() {
            return Err("GOV-06.no-ballot");
        }
        self.proposals[index].votes[who] = None;
        self.sequences[who] += 1;
        self.look_at_all();
        Ok(())
    }

    pub(crate) fn end(&mut self) {
        // GOV-11: approved cancels take effect.
        for index in 0..self.proposals.len() {
            if let (About::Cancel { target }, Phase::Approved) =
                (self.proposals[index].about, self.proposals[index].phase)
            {
                let target = self.entry(target).unwrap();
                self.finish(index, Phase::Executed);
                self.finish(target, Phase::Cancelled);
            }
        }
        // GOV-10.
        for index in 0..self.proposals.len() {
            let entry = &self.proposals[index];
            if entry.votes_count() && self.close_of(entry) == self.height {
                if entry.phase == Phase::Approved {
                    self.proposals[index].phase = Phase::LockedIn;
                } else {
                    self.finish(index, Phase::Expired);
                }
            }
        }
    }

    pub(crate) fn begin(&mut self) {
        let halted_by = self.halted_by().map(|entry| entry.id);
        self.height += 1;
        let Some(winner) = halted_by else { return };
        let winner = self.entry(winner).unwrap();
        if let About::Upgrade { minor, .. } = self.proposals[winner].about {
            self.minor = minor;
        }
        self.finish(winner, Phase::Executed);
        for index in 0..self.proposals.len() {
            let entry = &self.proposals[index];
            if let (About::Upgrade { minor, .. }, false) = (entry.about, entry.has_ended())
                && (entry.phase != Phase::Voting || minor <= self.minor)
            {
                self.finish(index, Phase::Superseded);
            }
        }
        for index in 0..self.proposals.len() {
            let entry = &self.proposals[index];
            if let (About::Cancel { target }, false) = (entry.about, entry.has_ended())
                && self.proposals[self.entry(target).unwrap()].has_ended()
            {
                self.finish(index, Phase::Superseded);
            }
        }
    }

    fn unused(&self, id: ProposalId) -> Result<(), &'static str> {
        match self.entry(id) {
            None => Ok(()),
            Some(index) if self.proposals[index].has_ended() => Err("GOV-04.ended"),
            Some(_) => Err("GOV-04"),
        }
    }

    fn votable(&self, id: ProposalId) -> Result<usize, &'static str> {
        let index = self.entry(id).ok_or("GOV-06.unknown")?;
        if self.proposals[index].has_ended() {
            Err("GOV-06.ended")
        } else if self.proposals[index].phase == Phase::LockedIn {
            Err("GOV-10")
        } else {
            Ok(index)
        }
    }

    fn submit(&mut self, who: usize, id: ProposalId, about: About) {
        self.proposals.push(Entry {
            id,
            about,
            proposer: who,
            submitted: self.height,
            phase: Phase::Voting,
            ended: None,
            votes: vec![None; self.powers.len()],
        });
        // GOV-05.
        self.cast(who, self.proposals.len() - 1, Choice::Approve);
    }

    fn cast(&mut self, who: usize, index: usize, choice: Choice) {
        self.sequences[who] += 1;
        // GOV-06.
        if choice == Choice::Approve && self.proposals[index].is_upgrade() {
            for entry in &mut self.proposals {
                if entry.is_upgrade() && entry.votes_count() && entry.votes[who] == Some(Choice::Approve) {
                    entry.votes[who] = None;
                }
            }
        }
        self.proposals[index].votes[who] = Some(choice);
        self.look_at_all();
    }

    fn look_at_all(&mut self) {
        let total: u64 = self.powers.iter().sum();
        for index in 0..self.proposals.len() {
            let entry = &self.proposals[index];
            if !entry.votes_count() {
                continue;
            }
            let against = self.power(entry, Choice::Reject);
            if self.is_more_than_the_part(self.power(entry, Choice::Approve)) {
                self.proposals[index].phase = Phase::Approved;
            } else if self.is_more_than_the_part(total - against) {
                self.proposals[index].phase = Phase::Voting;
            } else {
                self.finish(index, Phase::Rejected);
            }
        }
    }

    fn finish(&mut self, index: usize, phase: Phase) {
        self.proposals[index].phase = phase;
        self.proposals[index].ended = Some(self.height);
    }
}
