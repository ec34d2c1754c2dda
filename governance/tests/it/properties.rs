//! Random histories drive the state and the naive model side by side; after every step both agree, no invariant is
//! broken, and the events alone tell the same story.

use std::collections::BTreeMap;

use governance::{
    Action, BlockRefusal, ChainId, Choice, Event, Height, Phase, ProposalId, SignedTransaction, State,
    Subject, Upgrade, ValidatorId, check, encoding,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fixture::{artifact, genesis, governance_key, key, validator_id, version};
use crate::model::{About, Model};

/// A chain. The sender after its last validator is a stranger.
#[derive(Clone, Debug)]
struct Setup {
    powers: Vec<u64>,
    min_lead: u64,
    lock_in: u64,
    part: (u64, u64),
}

#[derive(Clone, Debug)]
enum Step {
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

fn setup() -> impl Strategy<Value = Setup> {
    let power = prop_oneof![3 => Just(1_u64), 3 => 1..20_u64, 1 => u64::MAX / 16..u64::MAX / 8];
    let part = prop_oneof![4 => Just((2, 3)), 1 => Just((3, 4)), 1 => Just((9, 10))];
    (vec(power, 1..7), 2..5_u64, 1..8_u64, part).prop_map(|(powers, lock_in, more, part)| Setup {
        powers,
        min_lead: lock_in + more,
        lock_in,
        part,
    })
}

fn step() -> impl Strategy<Value = Step> {
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 4096, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn gov_01_to_15_the_state_does_what_the_naive_model_does(setup in setup(), steps in vec(step(), 1..70)) {
        let mut run = Run::new(&setup);
        run.compare();
        for step in &steps {
            run.take(step);
            run.compare();
        }
    }
}

/// The histories reach what they are meant to reach; else the property above would prove little.
#[test]
fn random_histories_reach_every_phase() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeMap::<Phase, usize>::new();
    for _ in 0..200 {
        let (setup, steps) = (setup(), vec(step(), 1..70))
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let mut run = Run::new(&setup);
        steps.iter().for_each(|step| run.take(step));
        for entry in &run.model.proposals {
            *reached.entry(entry.phase).or_default() += 1;
        }
    }
    for phase in [
        Phase::Executed,
        Phase::Rejected,
        Phase::Expired,
        Phase::Superseded,
        Phase::Cancelled,
        Phase::LockedIn,
    ] {
        assert!(
            reached.get(&phase).is_some_and(|count| *count >= 3),
            "{phase} is hardly reached: {reached:?}"
        );
    }
}

/// What the events alone say.
#[derive(Default)]
struct Story {
    phases: BTreeMap<ProposalId, Phase>,
    ballots: BTreeMap<(ProposalId, ValidatorId), Choice>,
}

struct Run {
    state: State,
    model: Model,
    story: Story,
    last_accepted: Option<SignedTransaction>,
}

impl Run {
    fn new(setup: &Setup) -> Self {
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

    fn take(&mut self, step: &Step) {
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
                    self.deliver(&signed, Err("GOV-13.replay"));
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
        let signed = self.sign(who, sequence, u64::MAX, action);
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

    fn compare(&self) {
        invariant_nothing_is_violated(&self.state);
        invariant_the_model_agrees(&self.state, &self.model);
        invariant_the_events_tell_the_story(&self.state, &self.story);
    }
}

fn invariant_nothing_is_violated(state: &State) {
    let violations = check::violations(state);
    assert!(violations.is_empty(), "{violations:#?}");
}

fn invariant_the_model_agrees(state: &State, model: &Model) {
    assert_eq!(state.height(), Height(model.height));
    assert_eq!(*state.version(), version(&format!("1.{}.0", model.minor)));
    assert_eq!(
        state.plan().map(|proposal| proposal.id),
        model.plan().map(|entry| entry.id)
    );
    for (who, sequence) in model.sequences.iter().enumerate() {
        assert_eq!(state.next_sequence(&validator_id(who)), *sequence);
    }
    let count = state.live_proposals().count() + state.ended_proposals().count();
    assert_eq!(count, model.proposals.len().min(count));
    for entry in &model.proposals {
        let Some(proposal) = state.proposal(&entry.id) else {
            assert_eq!(state.ended_proposals().count(), governance::MAX_ENDED_PROPOSALS);
            continue;
        };
        let name = proposal.name();
        assert_eq!(proposal.phase, entry.phase, "{name}");
        assert_eq!(proposal.ended_height, entry.ended.map(Height), "{name}");
        assert_eq!(proposal.submitted_height, Height(entry.submitted), "{name}");
        assert_eq!(proposal.proposer, validator_id(entry.proposer), "{name}");
        assert_eq!(
            proposal.upgrade().is_some(),
            matches!(entry.about, About::Upgrade { .. }),
            "{name}"
        );
        assert_eq!(
            proposal.tally.approving.0,
            model.power(entry, Choice::Approve),
            "{name}"
        );
        assert_eq!(
            proposal.tally.rejecting.0,
            model.power(entry, Choice::Reject),
            "{name}"
        );
        for (who, vote) in entry.votes.iter().enumerate() {
            let ballot = proposal
                .ballots
                .get(&validator_id(who))
                .map(|ballot| ballot.choice);
            assert_eq!(ballot, *vote, "{name}");
        }
    }
}

fn invariant_the_events_tell_the_story(state: &State, story: &Story) {
    for proposal in state.live_proposals().chain(state.ended_proposals()) {
        assert_eq!(story.phases.get(&proposal.id), Some(&proposal.phase));
        let told = story
            .ballots
            .range((proposal.id, ValidatorId([0; 20]))..=(proposal.id, ValidatorId([255; 20])));
        let told: Vec<_> = told.map(|((_, voter), choice)| (*voter, *choice)).collect();
        let kept: Vec<_> = proposal
            .ballots
            .iter()
            .map(|(voter, ballot)| (*voter, ballot.choice))
            .collect();
        assert_eq!(told, kept);
    }
}

impl Story {
    fn read(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::ProposalSubmitted { proposal_id, .. } => {
                    assert_eq!(self.phases.insert(*proposal_id, Phase::Voting), None);
                }
                Event::VoteCast {
                    proposal_id,
                    validator_id,
                    choice,
                } => {
                    self.ballots.insert((*proposal_id, *validator_id), *choice);
                }
                Event::VoteWithdrawn {
                    proposal_id,
                    validator_id,
                } => {
                    assert!(self.ballots.remove(&(*proposal_id, *validator_id)).is_some());
                }
                Event::ApprovalMoved {
                    validator_id,
                    from,
                    to,
                } => {
                    assert_eq!(
                        self.ballots.remove(&(*from, *validator_id)),
                        Some(Choice::Approve)
                    );
                    assert_eq!(self.ballots.get(&(*to, *validator_id)), Some(&Choice::Approve));
                }
                Event::ProposalPhaseChanged {
                    proposal_id,
                    from,
                    to,
                } => {
                    assert!(from.may_become(*to), "{from} never becomes {to}");
                    assert_eq!(self.phases.insert(*proposal_id, *to), Some(*from));
                }
                Event::UpgradeHalted { proposal_id, .. } => {
                    assert_eq!(self.phases.get(proposal_id), Some(&Phase::LockedIn));
                }
                Event::UpgradeActivated { from, to, .. } => assert!(from < to),
                Event::TransactionRejected { .. } => panic!("the state never reports its own rejections"),
            }
        }
    }
}
