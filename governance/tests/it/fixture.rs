//! A chain of a few validators in memory. Every step checks what must hold after every step.

use governance::{
    Action, Artifact, BlockRefusal, ChainId, Choice, Digest, Event, Genesis, GenesisValidator, Height,
    Parameters, Phase, Power, ProposalId, PublicKey, Rejection, ReleaseVersion, SignedTransaction,
    SigningKey, State, Subject, Tally, Transaction, Upgrade, ValidatorId, check,
};

pub(crate) const MIN_LEAD: u64 = 10;
pub(crate) const LOCK_IN: u64 = 4;

pub(crate) struct Chain {
    pub(crate) state: State,
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// The governance key of validator `index`.
pub(crate) fn governance_key(index: usize) -> SigningKey {
    key(u8::try_from(index).unwrap() + 1)
}

pub(crate) fn validator_id(index: usize) -> ValidatorId {
    ValidatorId::at_entry(&PublicKey::from(&governance_key(index)))
}

pub(crate) fn version(text: &str) -> ReleaseVersion {
    text.parse().unwrap()
}

pub(crate) fn parameters() -> Parameters {
    Parameters {
        min_lead_blocks: MIN_LEAD,
        lock_in_blocks: LOCK_IN,
        threshold_numerator: 2,
        threshold_denominator: 3,
    }
}

pub(crate) fn genesis(powers: &[u64]) -> Genesis {
    let validator = |(index, power): (usize, &u64)| GenesisValidator {
        name: format!("validator-{index}"),
        governance_key: PublicKey::from(&governance_key(index)),
        consensus_key: PublicKey::from(&key(u8::try_from(index).unwrap() + 101)),
        power: Power(*power),
    };
    Genesis {
        chain_id: "test-1".parse().unwrap(),
        initial_version: version("1.0.0"),
        parameters: parameters(),
        validators: powers.iter().enumerate().map(validator).collect(),
    }
}

pub(crate) fn artifact(platform: &str) -> Artifact {
    Artifact {
        platform: platform.parse().unwrap(),
        url: format!("https://example.org/{platform}"),
        size: 1000,
        sha256: Digest::of(platform.as_bytes()),
    }
}

pub(crate) fn upgrade(to: &str, height: u64) -> Upgrade {
    Upgrade {
        version: version(to),
        height: Height(height),
        artifacts: vec![artifact("linux/amd64")],
        description: String::new(),
    }
}

pub(crate) fn id_of(upgrade: &Upgrade) -> ProposalId {
    Subject::Upgrade(upgrade.clone()).id(&"test-1".parse().unwrap())
}

pub(crate) fn cancel_id(target: ProposalId) -> ProposalId {
    Subject::Cancel { target }.id(&"test-1".parse().unwrap())
}

/// No invariant is broken.
#[track_caller]
pub(crate) fn assert_sound(state: &State) {
    let violations = check::violations(state);
    assert!(violations.is_empty(), "{violations:#?}");
}

impl Chain {
    /// A chain with block 1 open.
    pub(crate) fn new(powers: &[u64]) -> Self {
        Self::from_genesis(&genesis(powers))
    }

    pub(crate) fn from_genesis(genesis: &Genesis) -> Self {
        let mut chain = Self {
            state: State::from_genesis(genesis).unwrap(),
        };
        assert_sound(&chain.state);
        chain.begin().unwrap();
        chain
    }

    /// Begins the next block with the version that the state names.
    #[track_caller]
    pub(crate) fn begin(&mut self) -> Result<Vec<Event>, BlockRefusal> {
        let running = self.state.next_block_version().clone();
        let events = self
            .state
            .begin_block(self.state.height().next().unwrap(), &running);
        assert_sound(&self.state);
        events
    }

    #[track_caller]
    pub(crate) fn end(&mut self) -> Vec<Event> {
        let events = self.state.end_block();
        assert_sound(&self.state);
        events
    }

    /// Ends blocks until the one at `height` is open.
    #[track_caller]
    pub(crate) fn open(&mut self, height: u64) {
        while self.state.height() < Height(height) {
            let _ = self.end();
            self.begin().unwrap();
        }
    }

    /// Ends blocks up to the one at `height`, and returns what its end reports.
    #[track_caller]
    pub(crate) fn close(&mut self, height: u64) -> Vec<Event> {
        self.open(height);
        self.end()
    }

    pub(crate) fn transaction(&self, sender: usize, action: Action) -> Transaction {
        Transaction {
            chain_id: self.state.chain_id().clone(),
            sequence: self.state.next_sequence(&validator_id(sender)),
            last_valid_height: Height(u64::MAX),
            action,
        }
    }

    pub(crate) fn sign(&self, sender: usize, action: Action) -> SignedTransaction {
        self.transaction(sender, action).sign(&governance_key(sender))
    }

    /// Sends into the open block. Asserts GOV-15 and that `check` says what `apply` does.
    #[track_caller]
    pub(crate) fn send(&mut self, sender: usize, action: Action) -> Result<Vec<Event>, Rejection> {
        let signed = self.sign(sender, action);
        self.deliver(&signed)
    }

    #[track_caller]
    pub(crate) fn deliver(&mut self, signed: &SignedTransaction) -> Result<Vec<Event>, Rejection> {
        let verified = signed.verify(self.state.chain_id())?;
        let before = self.state.clone();
        let checked = self.state.check(&verified);
        let applied = self.state.apply(&verified);
        assert_eq!(
            checked.as_ref().err(),
            applied.as_ref().err(),
            "check and apply differ"
        );
        if applied.is_err() {
            assert_eq!(
                self.state, before,
                "GOV-15: a rejected transaction changed something"
            );
        }
        assert_sound(&self.state);
        applied
    }

    #[track_caller]
    pub(crate) fn propose(&mut self, sender: usize, upgrade: &Upgrade) -> ProposalId {
        self.send(sender, Action::ProposeUpgrade(upgrade.clone()))
            .unwrap();
        id_of(upgrade)
    }

    #[track_caller]
    pub(crate) fn vote(
        &mut self,
        sender: usize,
        proposal: ProposalId,
        choice: Choice,
    ) -> Result<Vec<Event>, Rejection> {
        self.send(sender, Action::Vote { proposal, choice })
    }

    #[track_caller]
    pub(crate) fn approve(&mut self, senders: &[usize], proposal: ProposalId) {
        for sender in senders {
            self.vote(*sender, proposal, Choice::Approve).unwrap();
        }
    }

    pub(crate) fn phase(&self, proposal: ProposalId) -> Phase {
        self.state.proposal(&proposal).unwrap().phase
    }

    pub(crate) fn tally(&self, proposal: ProposalId) -> Tally {
        self.state.proposal(&proposal).unwrap().tally
    }

    /// A chain of four equal validators with v1.1.0 at 20 approved by three, its block 16 ended: locked in.
    pub(crate) fn locked_in() -> (Self, ProposalId) {
        let mut chain = Self::new(&[1, 1, 1, 1]);
        let proposal = chain.propose(0, &upgrade("1.1.0", 20));
        chain.approve(&[1, 2], proposal);
        let _ = chain.close(16);
        assert_eq!(chain.phase(proposal), Phase::LockedIn);
        (chain, proposal)
    }
}

pub(crate) fn chain_id(text: &str) -> ChainId {
    text.parse().unwrap()
}

pub(crate) fn phase_change(proposal_id: ProposalId, from: Phase, to: Phase) -> Event {
    Event::ProposalPhaseChanged {
        proposal_id,
        from,
        to,
    }
}

/// The rejection's code.
#[track_caller]
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Rejection>) -> &'static str {
    result.unwrap_err().code()
}
