//! The rules once more, as naively as they can be written: keys are numbers, validators and proposals stand in lists, and
//! everything is counted anew whenever it is asked for. Written from the rule table; shares no code with the crate but the
//! names of phases, choices and readiness, and the hash that breaks a tie.

use std::collections::BTreeMap;

use governance::{Choice, Phase, ProposalId, Readiness};

/// A key by its number. A validator is named after the governance key with which it entered.
pub(crate) type Key = u8;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Validator {
    pub(crate) entered_with: Key,
    pub(crate) key: Key,
    pub(crate) block_key: Key,
    pub(crate) name: Key,
    pub(crate) power: u64,
}

/// The chain's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Numbers {
    pub(crate) min_lead: u64,
    pub(crate) lock_in: u64,
    /// Approval must exceed this part of the total.
    pub(crate) part: (u64, u64),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) sequence: u64,
    pub(crate) reports: u64,
    pub(crate) reporter: Option<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add(Validator),
    Remove(Key),
    Power(Key, u64),
    Rotate(Key, Option<Key>, Option<Key>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Upgrade { minor: u64, height: u64 },
    Cancel { target: ProposalId },
    Validators { height: u64, changes: Vec<Change> },
    Numbers { height: u64, numbers: Numbers },
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: ProposalId,
    pub(crate) about: About,
    pub(crate) proposer: Key,
    pub(crate) submitted: u64,
    pub(crate) closes: u64,
    pub(crate) phase: Phase,
    pub(crate) ended: Option<u64>,
    pub(crate) votes: BTreeMap<Key, Choice>,
    pub(crate) reports: BTreeMap<Key, Readiness>,
    /// Power for it, against it, and in all, when it was last counted.
    pub(crate) counted: (u64, u64, u64),
}

/// What somebody signs.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) signer: Key,
    pub(crate) sequence: u64,
    pub(crate) last_valid: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Propose {
        id: ProposalId,
        about: About,
    },
    Vote {
        id: ProposalId,
        choice: Choice,
    },
    Withdraw {
        id: ProposalId,
    },
    Authorize {
        reporter: Option<Key>,
    },
    Report {
        validator: Key,
        id: ProposalId,
        readiness: Readiness,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Submitted(ProposalId, Key),
    Cast(ProposalId, Key, Choice),
    Withdrawn(ProposalId, Key),
    Moved(Key, ProposalId, ProposalId),
    Became(ProposalId, Phase, Phase),
    Lapsed(ProposalId, Key),
    NewSet(ProposalId, u64, u64),
    NewNumbers(ProposalId, Numbers),
    Dropped(ProposalId, String),
    Reporter(Key, Option<Key>),
    Ready(ProposalId, Key, Readiness),
    Halted(ProposalId, u64, u64),
    Activated(ProposalId, u64, u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) numbers: Numbers,
    pub(crate) validators: Vec<Validator>,
    /// Of everybody who ever was a validator.
    pub(crate) accounts: BTreeMap<Key, Account>,
    pub(crate) height: u64,
    /// The running version is 1.`minor`.0.
    pub(crate) minor: u64,
    pub(crate) proposals: Vec<Entry>,
    pub(crate) changes_executed: u64,
    pub(crate) told: Vec<Told>,
}

pub(crate) type Code = &'static str;

impl Entry {
    pub(crate) fn is_upgrade(&self) -> bool {
        matches!(self.about, About::Upgrade { .. })
    }

    fn is_cancel(&self) -> bool {
        matches!(self.about, About::Cancel { .. })
    }

    pub(crate) fn is_change(&self) -> bool {
        !self.is_upgrade() && !self.is_cancel()
    }

    pub(crate) fn votes_count(&self) -> bool {
        self.phase == Phase::Voting || self.phase == Phase::Approved
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    pub(crate) fn height(&self) -> Option<u64> {
        match self.about {
            About::Upgrade { height, .. }
            | About::Validators { height, .. }
            | About::Numbers { height, .. } => Some(height),
            About::Cancel { .. } => None,
        }
    }
}

impl Model {
    pub(crate) fn new(validators: Vec<Validator>, numbers: Numbers) -> Self {
        Self {
            numbers,
            validators,
            accounts: BTreeMap::new(),
            height: 1,
            minor: 0,
            proposals: Vec::new(),
            changes_executed: 0,
            told: Vec::new(),
        }
    }

    pub(crate) fn account(&self, who: Key) -> Account {
        self.accounts.get(&who).cloned().unwrap_or_default()
    }

    pub(crate) fn entry(&self, id: ProposalId) -> Option<&Entry> {
        self.proposals.iter().find(|entry| entry.id == id)
    }

    pub(crate) fn index(&self, id: ProposalId) -> Option<usize> {
        self.proposals.iter().position(|entry| entry.id == id)
    }

    /// GOV-09: among the approved upgrades the earliest height, then the earliest submitted, then the smaller id.
    pub(crate) fn plan(&self) -> Option<&Entry> {
        let mut best: Option<&Entry> = None;
        for entry in self.proposals.iter().filter(|entry| entry.is_upgrade()) {
            let rank = |entry: &Entry| (entry.height(), entry.submitted, entry.id);
            if (entry.phase == Phase::Approved || entry.phase == Phase::LockedIn)
                && best.is_none_or(|best| rank(entry) < rank(best))
            {
                best = Some(entry);
            }
        }
        best
    }

    /// The upgrade at whose height the chain stands, after the end of a block.
    pub(crate) fn halted_by(&self) -> Option<&Entry> {
        self.plan()
            .filter(|entry| entry.phase == Phase::LockedIn && entry.height() == Some(self.height))
    }

    /// A transaction. GOV-15: a refused one changes nothing.
    pub(crate) fn send(&mut self, order: &Order) -> Result<(), Code> {
        let mut next = self.clone();
        next.obey(order)?;
        next.look_at_all();
        *self = next;
        Ok(())
    }

    fn obey(&mut self, order: &Order) -> Result<(), Code> {
        if order.last_valid < self.height {
            return Err("GOV-13.expired");
        }
        if let What::Report {
            validator,
            id,
            readiness,
        } = order.what
        {
            return self.report(order, validator, id, readiness);
        }
        let sender = self
            .validators
            .iter()
            .find(|validator| validator.key == order.signer);
        let who = sender.ok_or("GOV-01")?.entered_with;
        let account = self.accounts.entry(who).or_default();
        in_turn(account.sequence, order.sequence)?;
        account.sequence += 1;
        match &order.what {
            What::Propose { id, about } => self.propose(who, *id, about),
            What::Vote { id, choice } => {
                let index = self.votable(*id)?;
                self.cast(who, index, *choice);
                Ok(())
            }
            What::Withdraw { id } => {
                let index = self.votable(*id)?;
                self.proposals[index]
                    .votes
                    .remove(&who)
                    .ok_or("GOV-06.no-ballot")?;
                self.told.push(Told::Withdrawn(*id, who));
                Ok(())
            }
            What::Authorize { reporter } => {
                let signs_otherwise = |key: Key| {
                    self.validators
                        .iter()
                        .any(|other| other.key == key || other.block_key == key)
                };
                if reporter.is_some_and(signs_otherwise) {
                    return Err("GOV-16.key");
                }
                self.accounts.entry(who).or_default().reporter = *reporter;
                self.told.push(Told::Reporter(who, *reporter));
                Ok(())
            }
            What::Report { .. } => panic!("reports are not signed by governance keys"),
        }
    }

    /// GOV-16.
    fn report(
        &mut self,
        order: &Order,
        validator: Key,
        id: ProposalId,
        readiness: Readiness,
    ) -> Result<(), Code> {
        let is_active = self
            .validators
            .iter()
            .any(|other| other.entered_with == validator);
        let account = self.accounts.entry(validator).or_default();
        if !is_active || account.reporter != Some(order.signer) {
            return Err("GOV-16");
        }
        in_turn(account.reports, order.sequence)?;
        account.reports += 1;
        let index = self.index(id).ok_or("GOV-16.proposal")?;
        let entry = &mut self.proposals[index];
        if !entry.is_upgrade() || entry.has_ended() {
            return Err("GOV-16.proposal");
        }
        entry.reports.insert(validator, readiness);
        self.told.push(Told::Ready(id, validator, readiness));
        Ok(())
    }

    fn propose(&mut self, who: Key, id: ProposalId, about: &About) -> Result<(), Code> {
        match about {
            About::Cancel { target } => return self.propose_cancel(who, id, *target),
            About::Upgrade { .. } => {}
            About::Validators { changes, .. } => {
                if changes.is_empty() || changes.len() > 64 {
                    return Err("GOV-12.count");
                }
                for (index, change) in changes.iter().enumerate() {
                    if changes[..index]
                        .iter()
                        .any(|earlier| named(earlier) == named(change))
                    {
                        return Err("GOV-12.twice");
                    }
                }
            }
            About::Numbers { numbers, .. } => {
                let (above, below) = (u128::from(numbers.part.0), u128::from(numbers.part.1));
                let fair = above * 3 >= below * 2 && above < below;
                if numbers.lock_in < 2
                    || numbers.min_lead <= numbers.lock_in
                    || numbers.min_lead > 50_000_000
                    || !fair
                {
                    return Err("GOV-12.parameters");
                }
            }
        }
        self.unused(id)?;
        if let About::Upgrade { minor, .. } = about
            && *minor <= self.minor
        {
            return Err("GOV-03");
        }
        let height = match about {
            About::Upgrade { height, .. }
            | About::Validators { height, .. }
            | About::Numbers { height, .. } => *height,
            About::Cancel { .. } => 0,
        };
        if height < self.height + self.numbers.min_lead {
            return Err("GOV-02");
        }
        if height > self.height + 50_000_000 {
            return Err("GOV-02.far");
        }
        let live: Vec<&Entry> = self
            .proposals
            .iter()
            .filter(|entry| !entry.is_cancel() && !entry.has_ended())
            .collect();
        if live.len() >= 32 {
            return Err("GOV-14.live");
        }
        if live.iter().filter(|entry| entry.proposer == who).count() >= 4 {
            return Err("GOV-14.live-of-proposer");
        }
        match about {
            About::Validators { changes, .. } => {
                self.changed(changes)?;
            }
            About::Numbers { numbers, .. } if *numbers == self.numbers => return Err("GOV-12.nothing"),
            About::Numbers { .. } | About::Upgrade { .. } | About::Cancel { .. } => {}
        }
        self.submit(who, id, about, height - self.numbers.lock_in);
        Ok(())
    }

    /// GOV-11.
    fn propose_cancel(&mut self, who: Key, id: ProposalId, target: ProposalId) -> Result<(), Code> {
        let entry = self.entry(target).ok_or("GOV-11.unknown")?;
        let height = entry.height().ok_or("GOV-11.not-upgrade")?;
        if entry.has_ended() {
            return Err("GOV-11.ended");
        }
        if entry.phase != Phase::LockedIn {
            return Err("GOV-11");
        }
        self.unused(id)?;
        if self.height >= height {
            return Err("GOV-11.late");
        }
        self.submit(who, id, &About::Cancel { target }, height - 1);
        Ok(())
    }

    /// GOV-12: the set after the changes, if they fit the set in force.
    pub(crate) fn changed(&self, changes: &[Change]) -> Result<Vec<Validator>, Code> {
        let mut after = self.validators.clone();
        let mut moved: u128 = 0;
        for change in changes {
            let place = after
                .iter()
                .position(|validator| validator.entered_with == named(change));
            match (change, place) {
                (Change::Add(_), Some(_)) => return Err("GOV-12.set"),
                (Change::Add(validator), None) => {
                    moved += u128::from(validator.power);
                    after.push(validator.clone());
                }
                (_, None) => return Err("GOV-12.unknown"),
                (Change::Remove(_), Some(place)) => moved += u128::from(after.remove(place).power),
                (Change::Power(_, power), Some(place)) => {
                    let before = after[place].power;
                    if before == *power {
                        return Err("GOV-12.nothing");
                    }
                    moved += u128::from(before.max(*power) - before.min(*power));
                    after[place].power = *power;
                }
                (Change::Rotate(_, key, block_key), Some(place)) => {
                    let before = after[place].clone();
                    after[place].key = key.unwrap_or(before.key);
                    after[place].block_key = block_key.unwrap_or(before.block_key);
                    if after[place] == before {
                        return Err("GOV-12.nothing");
                    }
                    moved += u128::from(before.power);
                }
            }
        }
        let mut names: Vec<Key> = after.iter().map(|validator| validator.name).collect();
        let mut keys: Vec<Key> = after
            .iter()
            .flat_map(|validator| [validator.key, validator.block_key])
            .collect();
        names.sort();
        keys.sort();
        let twice = |sorted: &[Key]| sorted.windows(2).any(|pair| pair[0] == pair[1]);
        let total: u128 = after.iter().map(|validator| u128::from(validator.power)).sum();
        let powerless = after.iter().any(|validator| validator.power == 0);
        if after.is_empty() || twice(&names) || twice(&keys) || powerless || total > u128::from(u64::MAX) {
            return Err("GOV-12.set");
        }
        if 3 * moved >= self.total() {
            return Err("GOV-12");
        }
        Ok(after)
    }

    pub(crate) fn total(&self) -> u128 {
        self.validators
            .iter()
            .map(|validator| u128::from(validator.power))
            .sum()
    }

    fn unused(&self, id: ProposalId) -> Result<(), Code> {
        match self.entry(id) {
            None => Ok(()),
            Some(entry) if entry.has_ended() => Err("GOV-04.ended"),
            Some(_) => Err("GOV-04"),
        }
    }

    fn votable(&self, id: ProposalId) -> Result<usize, Code> {
        let index = self.index(id).ok_or("GOV-06.unknown")?;
        if self.proposals[index].has_ended() {
            Err("GOV-06.ended")
        } else if self.proposals[index].phase == Phase::LockedIn {
            Err("GOV-10")
        } else {
            Ok(index)
        }
    }

    fn submit(&mut self, who: Key, id: ProposalId, about: &About, closes: u64) {
        self.proposals.push(Entry {
            id,
            about: about.clone(),
            proposer: who,
            submitted: self.height,
            closes,
            phase: Phase::Voting,
            ended: None,
            votes: BTreeMap::new(),
            reports: BTreeMap::new(),
            counted: (0, 0, 0),
        });
        self.told.push(Told::Submitted(id, who));
        // GOV-05.
        self.cast(who, self.proposals.len() - 1, Choice::Approve);
    }

    fn cast(&mut self, who: Key, index: usize, choice: Choice) {
        let id = self.proposals[index].id;
        self.told.push(Told::Cast(id, who, choice));
        // GOV-06.
        if choice == Choice::Approve && self.proposals[index].is_upgrade() {
            for entry in &mut self.proposals {
                let approves = entry.votes.get(&who) == Some(&Choice::Approve);
                if entry.is_upgrade() && entry.votes_count() && approves && entry.id != id {
                    entry.votes.remove(&who);
                    self.told.push(Told::Moved(who, entry.id, id));
                }
            }
        }
        self.proposals[index].votes.insert(who, choice);
    }
}

/// GOV-13.
fn in_turn(expected: u64, found: u64) -> Result<(), Code> {
    if found < expected {
        Err("GOV-13.replay")
    } else if found > expected {
        Err("GOV-13.gap")
    } else {
        Ok(())
    }
}

/// The validator that a change is about.
fn named(change: &Change) -> Key {
    match change {
        Change::Add(validator) => validator.entered_with,
        Change::Remove(who) | Change::Power(who, _) | Change::Rotate(who, _, _) => *who,
    }
}
