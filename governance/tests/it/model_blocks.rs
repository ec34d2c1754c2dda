//! The naive model's borders of blocks: what their ends and beginnings do, and how votes are counted.

use governance::{Choice, Phase};

use crate::model::{About, Code, Model, Told, Validator};

impl Model {
    pub(crate) fn end(&mut self) {
        // GOV-11: approved cancels take effect.
        for index in 0..self.proposals.len() {
            if let (&About::Cancel { target }, Phase::Approved) =
                (&self.proposals[index].about, self.proposals[index].phase)
            {
                let target = self.index(target).unwrap();
                self.finish(index, Phase::Executed);
                self.finish(target, Phase::Cancelled);
            }
        }
        // GOV-10.
        for index in 0..self.proposals.len() {
            let entry = &self.proposals[index];
            if entry.votes_count() && entry.closes == self.height {
                if entry.phase == Phase::Approved {
                    self.enter(index, Phase::LockedIn);
                } else {
                    self.finish(index, Phase::Expired);
                }
            }
        }
        // GOV-12.
        let mut due: Vec<usize> = (0..self.proposals.len())
            .filter(|index| {
                let entry = &self.proposals[*index];
                entry.is_change() && entry.phase == Phase::LockedIn && entry.height() == Some(self.height)
            })
            .collect();
        due.sort_by_key(|index| (self.proposals[*index].submitted, self.proposals[*index].id));
        let mut taken = false;
        for index in due {
            if taken {
                self.finish(index, Phase::Superseded);
                continue;
            }
            match self.carry_out(index) {
                Ok(()) => {
                    self.finish(index, Phase::Executed);
                    self.changes_executed += 1;
                    taken = true;
                }
                Err(code) => {
                    self.told
                        .push(Told::Dropped(self.proposals[index].id, code.to_owned()));
                    self.finish(index, Phase::Superseded);
                }
            }
        }
        self.look_at_all();
        if let Some(entry) = self.halted_by()
            && let About::Upgrade { minor, height } = entry.about
        {
            self.told.push(Told::Halted(entry.id, height, minor));
        }
    }

    /// GOV-12: what takes effect at the end of H.
    fn carry_out(&mut self, index: usize) -> Result<(), Code> {
        let id = self.proposals[index].id;
        match self.proposals[index].about.clone() {
            About::Validators { changes, .. } => {
                let after = self.changed(&changes)?;
                let before = std::mem::replace(&mut self.validators, after);
                self.told.push(Told::NewSet(
                    id,
                    self.validators.len() as u64,
                    u64::try_from(self.total()).unwrap(),
                ));
                for old in before {
                    let new = self
                        .validators
                        .iter()
                        .find(|validator| validator.entered_with == old.entered_with);
                    if new.is_none() {
                        self.accounts.entry(old.entered_with).or_default().reporter = None;
                    }
                    if new.is_none_or(|new| new.key != old.key) {
                        for entry in self.proposals.iter_mut().filter(|entry| entry.votes_count()) {
                            if entry.votes.remove(&old.entered_with).is_some() {
                                self.told.push(Told::Lapsed(entry.id, old.entered_with));
                            }
                        }
                    }
                }
            }
            About::Numbers { numbers, .. } => {
                if numbers == self.numbers {
                    return Err("GOV-12.nothing");
                }
                self.numbers = numbers;
                self.told.push(Told::NewNumbers(id, numbers));
            }
            About::Upgrade { .. } | About::Cancel { .. } => panic!("not a change"),
        }
        Ok(())
    }

    pub(crate) fn begin(&mut self) {
        let halted_by = self.halted_by().map(|entry| entry.id);
        self.height += 1;
        let Some(winner) = halted_by else { return };
        let index = self.index(winner).unwrap();
        if let About::Upgrade { minor, .. } = self.proposals[index].about {
            self.told.push(Told::Activated(winner, self.minor, minor));
            self.minor = minor;
        }
        self.finish(index, Phase::Executed);
        for index in 0..self.proposals.len() {
            let entry = &self.proposals[index];
            if let (&About::Upgrade { minor, .. }, false) = (&entry.about, entry.has_ended())
                && (entry.phase != Phase::Voting || minor <= self.minor)
            {
                self.finish(index, Phase::Superseded);
            }
        }
        for index in 0..self.proposals.len() {
            let entry = &self.proposals[index];
            if let (&About::Cancel { target }, false) = (&entry.about, entry.has_ended())
                && self.entry(target).unwrap().has_ended()
            {
                self.finish(index, Phase::Superseded);
            }
        }
    }

    /// GOV-07, GOV-08: counts everything whose votes count.
    pub(crate) fn look_at_all(&mut self) {
        let total = self.total();
        for index in 0..self.proposals.len() {
            if !self.proposals[index].votes_count() {
                continue;
            }
            let power = |choice: Choice| -> u128 {
                let votes = &self.proposals[index].votes;
                let cast = |validator: &&Validator| votes.get(&validator.entered_with) == Some(&choice);
                self.validators
                    .iter()
                    .filter(cast)
                    .map(|validator| u128::from(validator.power))
                    .sum()
            };
            let (approving, against) = (power(Choice::Approve), power(Choice::Reject));
            let enough = |power: u128| {
                power * u128::from(self.numbers.part.1) > total * u128::from(self.numbers.part.0)
            };
            let phase = if enough(approving) {
                Phase::Approved
            } else if enough(total - against) {
                Phase::Voting
            } else {
                Phase::Rejected
            };
            let small = |power: u128| u64::try_from(power).unwrap();
            self.proposals[index].counted = (small(approving), small(against), small(total));
            if phase == Phase::Rejected {
                self.finish(index, phase);
            } else {
                self.enter(index, phase);
            }
        }
    }

    fn enter(&mut self, index: usize, phase: Phase) {
        let entry = &mut self.proposals[index];
        if entry.phase != phase {
            self.told.push(Told::Became(entry.id, entry.phase, phase));
            entry.phase = phase;
        }
    }

    fn finish(&mut self, index: usize, phase: Phase) {
        self.enter(index, phase);
        self.proposals[index].ended = Some(self.height);
    }
}
