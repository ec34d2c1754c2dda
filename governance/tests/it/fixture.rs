//! A chain of a few validators in memory. Every step checks what must hold after every step.

use governance::{
    Action, Artifact, Ballot, BlockRefusal, Certificate, CertificateChain, ChainId, Choice, Digest, Event,
    Genesis, GenesisValidator, Height, Parameters, ParametersChange, Phase, Power, ProposalId, PublicKey,
    Readiness, Rejection, ReleaseVersion, SignedTransaction, SigningKey, State, Subject, Tally, Transaction,
    Upgrade, ValidatorChange, ValidatorId, ValidatorsChange, check,
};

pub(crate) const MIN_LEAD: u64 = 10;
pub(crate) const LOCK_IN: u64 = 4;

pub(crate) struct Chain {
    pub(crate) state: State,
    pub(crate) genesis: Genesis,
    /// What each block has locked in or carried out, in this order.
    pub(crate) certificates: Vec<Certificate>,
    /// The certificates of the changes that have taken effect, in this order.
    pub(crate) executed: Vec<Certificate>,
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

/// Validator `index` as it enters.
pub(crate) fn newcomer(index: usize, power: u64) -> GenesisValidator {
    GenesisValidator {
        name: format!("validator-{index}"),
        governance_key: PublicKey::from(&governance_key(index)),
        consensus_key: PublicKey::from(&key(u8::try_from(index).unwrap() + 101)),
        power: Power(power),
    }
}

/// Validators of these powers; their governance keys have the seeds 1, 2, .., their consensus keys 101, 102, ..
pub(crate) fn genesis(powers: &[u64]) -> Genesis {
    Genesis {
        chain_id: "test-1".parse().unwrap(),
        initial_version: version("1.0.0"),
        parameters: parameters(),
        validators: powers
            .iter()
            .enumerate()
            .map(|(index, power)| newcomer(index, *power))
            .collect(),
    }
}

/// This many validators of power 1.
pub(crate) fn large_genesis(validators: u32) -> Genesis {
    let validators = (0..validators).map(|index| GenesisValidator {
        name: index.to_string(),
        governance_key: PublicKey::from(&numbered_key(index, 0)),
        consensus_key: PublicKey::from(&numbered_key(index, 1)),
        power: Power(1),
    });
    Genesis {
        validators: validators.collect(),
        ..genesis(&[1])
    }
}

/// The governance (0) or consensus (1) key of a validator of a large set.
pub(crate) fn numbered_key(index: u32, role: u8) -> SigningKey {
    let mut seed = [role; 32];
    seed[..4].copy_from_slice(&index.to_be_bytes());
    SigningKey::from_bytes(&seed)
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

pub(crate) fn subject_id(subject: &Subject) -> ProposalId {
    subject.id(&chain_id("test-1"))
}

pub(crate) fn id_of(upgrade: &Upgrade) -> ProposalId {
    subject_id(&Subject::Upgrade(upgrade.clone()))
}

pub(crate) fn cancel_id(target: ProposalId) -> ProposalId {
    subject_id(&Subject::Cancel { target })
}

/// A change of the validator set at `height`.
pub(crate) fn set_change(height: u64, changes: &[ValidatorChange]) -> Subject {
    Subject::Validators(ValidatorsChange {
        height: Height(height),
        changes: changes.to_vec(),
        description: String::new(),
    })
}

/// A change of the parameters at `height`.
pub(crate) fn parameter_change(height: u64, parameters: Parameters) -> Subject {
    Subject::Parameters(ParametersChange {
        height: Height(height),
        parameters,
        description: String::new(),
    })
}

pub(crate) fn add(index: usize, power: u64) -> ValidatorChange {
    ValidatorChange::Add(newcomer(index, power))
}

pub(crate) fn remove(index: usize) -> ValidatorChange {
    ValidatorChange::Remove {
        validator: validator_id(index),
    }
}

pub(crate) fn set_power(index: usize, power: u64) -> ValidatorChange {
    ValidatorChange::SetPower {
        validator: validator_id(index),
        power: Power(power),
    }
}

/// New keys of these seeds.
pub(crate) fn rotate(index: usize, governance: Option<u8>, consensus: Option<u8>) -> ValidatorChange {
    let public = |seed: Option<u8>| seed.map(|seed| PublicKey::from(&key(seed)));
    ValidatorChange::RotateKeys {
        validator: validator_id(index),
        governance_key: public(governance),
        consensus_key: public(consensus),
    }
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
            genesis: genesis.clone(),
            certificates: Vec::new(),
            executed: Vec::new(),
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
        let executed = self.state.executed_changes();
        let events = self.state.end_block();
        assert_sound(&self.state);
        self.certificates.extend_from_slice(self.state.new_certificates());
        if self.state.executed_changes() > executed {
            let changed = events.iter().find_map(|event| {
                if let Event::ValidatorsChanged { proposal_id, .. }
                | Event::ParametersChanged { proposal_id, .. } = event
                {
                    Some(*proposal_id)
                } else {
                    None
                }
            });
            self.executed.push(self.certificate(changed.unwrap()));
        }
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

    /// Proposes anything; the proposer approves it.
    #[track_caller]
    pub(crate) fn submit(&mut self, sender: usize, subject: &Subject) -> ProposalId {
        self.send(sender, subject.to_action()).unwrap();
        subject_id(subject)
    }

    /// The code with which a proposal is refused.
    #[track_caller]
    pub(crate) fn refusal(&mut self, sender: usize, subject: &Subject) -> &'static str {
        code(self.send(sender, subject.to_action()))
    }

    /// Everybody approves what validator 0 proposes, and it is latched in time.
    #[track_caller]
    pub(crate) fn lock_in(&mut self, subject: &Subject) -> ProposalId {
        let proposal = self.submit(0, subject);
        let is_active = |index: &usize| {
            let key = PublicKey::from(&governance_key(*index));
            let validator = self.state.validators().by_governance_key(&key);
            validator.is_some_and(|validator| validator.id == validator_id(*index))
        };
        let voters: Vec<usize> = (1..100).filter(is_active).collect();
        self.approve(&voters, proposal);
        let closes = self.state.proposal(&proposal).unwrap().votes_close_height;
        let _ = self.close(closes.0);
        assert_eq!(self.phase(proposal), Phase::LockedIn);
        self.begin().unwrap();
        proposal
    }

    /// A report of a validator's host, signed with the reporter key of this seed.
    #[track_caller]
    pub(crate) fn report(
        &mut self,
        reporter: u8,
        validator: usize,
        proposal: ProposalId,
        readiness: Readiness,
    ) -> Result<Vec<Event>, Rejection> {
        let validator = validator_id(validator);
        let account = self.state.account(&validator);
        let mut transaction = self.transaction(
            0,
            Action::ReportReadiness {
                validator,
                proposal,
                readiness,
            },
        );
        transaction.sequence = account.map_or(0, |account| account.next_report_sequence);
        self.deliver(&transaction.sign(&key(reporter)))
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

    /// The certificate that the chain made when it locked the proposal in, or carried the cancel out.
    #[track_caller]
    pub(crate) fn certificate(&self, proposal: ProposalId) -> Certificate {
        let mut certificates = self.certificates.iter();
        certificates
            .find(|certificate| certificate.proposal() == proposal)
            .unwrap()
            .clone()
    }

    /// The certificate with those of the changes that it needs.
    #[track_caller]
    pub(crate) fn proof(&self, proposal: ProposalId) -> CertificateChain {
        CertificateChain::new(self.executed.iter().cloned(), self.certificate(proposal))
    }

    /// The validator's standing vote.
    pub(crate) fn ballot(&self, proposal: ProposalId, voter: usize) -> Option<Ballot> {
        self.state.ballot(&proposal, &validator_id(voter)).copied()
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
