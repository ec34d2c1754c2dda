//! Random histories: what is sent to a chain, and how it is sent to the state and to the naive model side by side.

use governance::{
    Action, BlockRefusal, ChainId, Choice, Height, Phase, ProposalId, SignedTransaction, State, Subject,
    Upgrade, encoding,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fixture::{artifact, genesis, governance_key, key, version};
use crate::invariants::{
    Story, invariant_nothing_is_violated, invariant_the_events_tell_the_story, invariant_the_model_agrees,
};
use crate::model::Model;

/// A chain. The sender after its last validator is a stranger.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    powers: Vec<u64>,
    min_lead: u64,
    lock_in: u64,
    part: (u64, u64),
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Propose {
        who: usize,
        minor: u64,
        lead: u64,
        variant: u8,
    },
    /// `pick` counts back from the newest proposal.
    Vote {
        who: usize,
        pick: usize,
        choice: Choice,
    },
    /// Everybody approves, one after the other.
    Carry {
        pick: usize,
    },
    Withdraw {
        who: usize,
        pick: usize,
    },
    Cancel {
        who: usize,
        pick: usize,
    },
    /// Proposes to cancel the upgrade that is locked in, if one is; everybody approves it if `carry`.
    CancelLockedIn {
        who: usize,
        carry: bool,
    },
    /// Ends blocks until an upgrade has been latched, one way or the other, or none is live.
    UntilLatch,
    /// The last accepted transaction once more.
    Replay,
    Gap {
        who: usize,
    },
    Late {
        who: usize,
    },
    /// Ends this many blocks; at each border other versions are refused.
    Blocks {
        count: u8,
    },
    /// The state goes through its canonical bytes.
    Reload,
}

pub(crate) fn setup() -> impl Strategy<Value = Setup> {
    let power = prop_oneof![3 => Just(1_u64), 3 => 1..20_u64, 1 => u64::MAX / 16..u64::MAX / 8];
    let part = prop_oneof![4 => Just((2, 3)), 1 => Just((3, 4)), 1 => Just((9, 10))];
    (vec(power, 1..7), 2..5_u64, 1..8_u64, part).prop_map(|(powers, lock_in, more, part)| Setup {
        powers,
        min_lead: lock_in + more,
        lock_in,
        part,
    })
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let who = || 0..7_usize;
    let pick = || prop_oneof![4 => 0..2_usize, 1 => 0..6_usize];
    let choice = prop_oneof![3 => Just(Choice::Approve), 1 => Just(Choice::Reject)];
    prop_oneof![
        4 => (who(), 0..5_u64, 0..25_u64, 0..2_u8)
            .prop_map(|(who, minor, lead, variant)| Step::Propose { who, minor, lead, variant }),
        8 => (who(), pick(), choice).prop_map(|(who, pick, choice)| Step::Vote { who, pick, choice }),
        3 => pick().prop_map(|pick| Step::Carry { pick }),
        2 => (who(), pick()).prop_map(|(who, pick)| Step::Withdraw { who, pick }),
        1 => (who(), pick()).prop_map(|(who, pick)| Step::Cancel { who, pick }),
        2 => (who(), any::<bool>()).prop_map(|(who, carry)| Step::CancelLockedIn { who, carry }),
        3 => Just(Step::UntilLatch),
        1 => Just(Step::Replay),
        1 => who().prop_map(|who| Step::Gap { who }),
        1 => who().prop_map(|who| Step::Late { who }),
        6 => (1..8_u8).prop_map(|count| Step::Blocks { count }),
        1 => Just(Step::Reload),
    ]
}

pub(crate) struct Run {
    pub(crate) state: State,
    pub(crate) model: Model,
    story: Story,
    last_accepted: Option<SignedTransaction>,
}

impl Run {
    pub(crate) fn new(setup: &Setup) -> Self {
        let mut genesis = genesis(&setup.powers);
        genesis.parameters.min_lead_blocks = setup.min_lead;
        genesis.parameters.lock_in_blocks = setup.lock_in;
        genesis.parameters.threshold_numerator = setup.part.0;
        genesis.parameters.threshold_denominator = setup.part.1;
        let mut state = State::from_genesis(&genesis).unwrap();
        state.begin_block(Height(1), &version("1.0.0")).unwrap();
        let model = Model {
            powers: setup.powers.clone(),
            min_lead: setup.min_lead,
            lock_in: setup.lock_in,
            part: setup.part,
            height: 1,
            minor: 0,
            sequences: vec![0; setup.powers.len()],
            proposals: Vec::new(),
        };
        Self {
            state,
            model,
            story: Story::default(),
            last_accepted: None,
        }
    }

    pub(crate) fn take(&mut self, step: &Step) {
        let senders = self.model.powers.len() + 1;
        match step {
            Step::Propose {
                who,
                minor,
                lead,
                variant,
            } => {
                let who = who % senders;
                let upgrade = Upgrade {
                    version: version(&format!("1.{minor}.0")),
                    height: Height(self.model.height + lead),
                    artifacts: vec![artifact("linux/amd64")],
                    description: variant.to_string(),
                };
                let id = Subject::Upgrade(upgrade.clone()).id(self.chain_id());
                let height = upgrade.height.0;
                self.send(who, Action::ProposeUpgrade(upgrade), |model| {
                    model.propose(who, id, *minor, height)
                });
            }
            Step::Vote { who, pick, choice } => self.vote(who % senders, self.pick(*pick), *choice),
            Step::Carry { pick } => self.carry(self.pick(*pick)),
            Step::Withdraw { who, pick } => {
                let (who, proposal) = (who % senders, self.pick(*pick));
                self.send(who, Action::Withdraw { proposal }, |model| {
                    model.withdraw(who, proposal)
                });
            }
            Step::Cancel { who, pick } => self.cancel(who % senders, self.pick(*pick)),
            Step::CancelLockedIn { who, carry } => {
                let locked_in = self
                    .model
                    .proposals
                    .iter()
                    .find(|entry| entry.phase == Phase::LockedIn);
                if let Some(target) = locked_in.map(|entry| entry.id) {
                    self.cancel(who % senders, target);
                    if *carry {
                        self.carry(Subject::Cancel { target }.id(self.chain_id()));
                    }
                }
            }
            Step::UntilLatch => {
                let open = |model: &Model| model.proposals.iter().filter(|entry| entry.votes_count()).count();
                let before = open(&self.model);
                while before > 0 && open(&self.model) == before {
                    self.next_block();
                }
            }
            Step::Replay => {
                if let Some(signed) = self.last_accepted.clone() {
                    let is_late = signed.transaction.last_valid_height < self.state.height();
                    self.deliver(
                        &signed,
                        Err(if is_late {
                            "GOV-13.expired"
                        } else {
                            "GOV-13.replay"
                        }),
                    );
                }
            }
            Step::Gap { who } => self.refused(who % senders, 1, u64::MAX, "GOV-13.gap"),
            Step::Late { who } => self.refused(who % senders, 0, self.model.height - 1, "GOV-13.expired"),
            Step::Blocks { count } => (0..*count).for_each(|_| self.next_block()),
            Step::Reload => {
                let bytes = encoding::to_canonical(&self.state);
                let loaded: State = encoding::from_canonical(&bytes, bytes.len()).unwrap();
                assert_eq!(loaded.state_root(), self.state.state_root());
                self.state = loaded;
            }
        }
    }

    fn vote(&mut self, who: usize, proposal: ProposalId, choice: Choice) {
        self.send(who, Action::Vote { proposal, choice }, |model| {
            model.vote(who, proposal, choice)
        });
    }

    fn carry(&mut self, proposal: ProposalId) {
        for who in 0..self.model.powers.len() {
            self.vote(who, proposal, Choice::Approve);
        }
    }

    fn cancel(&mut self, who: usize, target: ProposalId) {
        let id = Subject::Cancel { target }.id(self.chain_id());
        self.send(who, Action::ProposeCancel { target }, |model| {
            model.cancel(who, id, target)
        });
    }

    fn chain_id(&self) -> &ChainId {
        self.state.chain_id()
    }

    fn pick(&self, pick: usize) -> ProposalId {
        self.model
            .proposals
            .iter()
            .rev()
            .nth(pick)
            .map_or(ProposalId([0; 32]), |entry| entry.id)
    }

    fn sign(&self, who: usize, sequence: u64, last_valid_height: u64, action: Action) -> SignedTransaction {
        let last_valid_height = Height(last_valid_height);
        let is_validator = who < self.model.powers.len();
        let key = if is_validator {
            governance_key(who)
        } else {
            key(200)
        };
        governance::Transaction {
            chain_id: self.chain_id().clone(),
            sequence,
            last_valid_height,
            action,
        }
        .sign(&key)
    }

    fn send(
        &mut self,
        who: usize,
        action: Action,
        model: impl FnOnce(&mut Model) -> Result<(), &'static str>,
    ) {
        let sequence = self.model.sequences.get(who).copied().unwrap_or_default();
        let signed = self.sign(who, sequence, self.model.height, action);
        let expected = if who < self.model.powers.len() {
            model(&mut self.model)
        } else {
            Err("GOV-01")
        };
        self.deliver(&signed, expected);
    }

    fn refused(&mut self, who: usize, skipped: u64, last_valid_height: u64, code: &'static str) {
        if let Some(sequence) = self.model.sequences.get(who) {
            let action = Action::Withdraw {
                proposal: self.pick(0),
            };
            let signed = self.sign(who, sequence + skipped, last_valid_height, action);
            self.deliver(&signed, Err(code));
        }
    }

    fn deliver(&mut self, signed: &SignedTransaction, expected: Result<(), &'static str>) {
        let verified = signed.verify(self.chain_id()).unwrap();
        let before = self.state.clone();
        let checked = self.state.check(&verified);
        let applied = self.state.apply(&verified);
        assert_eq!(checked.err(), applied.as_ref().err().cloned());
        match applied {
            Ok(events) => {
                assert_eq!(expected, Ok(()));
                self.last_accepted = Some(signed.clone());
                self.story.read(&events);
            }
            Err(rejection) => {
                assert_eq!(expected, Err(rejection.code()), "{rejection}");
                assert_eq!(self.state, before, "GOV-15");
            }
        }
    }

    fn next_block(&mut self) {
        let events = self.state.end_block();
        self.story.read(&events);
        self.model.end();
        self.compare();
        assert_eq!(
            self.state.halt().map(|halt| halt.proposal),
            self.model.halted_by().map(|entry| entry.id)
        );
        let next = self.state.height().next().unwrap();
        let named = self.state.next_block_version().clone();
        let before = self.state.clone();
        for minor in 0..6 {
            let running = version(&format!("1.{minor}.0"));
            if running != named {
                let refusal = self.state.begin_block(next, &running).unwrap_err();
                assert_eq!(
                    matches!(refusal, BlockRefusal::NewerVersionRequired { .. }),
                    running < named
                );
            }
        }
        assert_eq!(self.state, before);
        let events = self.state.begin_block(next, &named).unwrap();
        self.story.read(&events);
        self.model.begin();
        self.compare();
    }

    pub(crate) fn compare(&self) {
        invariant_nothing_is_violated(&self.state);
        invariant_the_model_agrees(&self.state, &self.model);
        invariant_the_events_tell_the_story(&self.state, &self.story);
    }
}
