//! A small chain that has been through everything: what the targets start from.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use governance::{
    Action, Artifact, Certificate, Choice, Digest, Event, Genesis, GenesisValidator, Height, Parameters,
    ParametersChange, Power, ProposalId, PublicKey, Readiness, RowKey, SignedTransaction, SigningKey, State,
    Subject, Transaction, Upgrade, ValidatorChange, ValidatorId, ValidatorsChange,
};

/// The seed of the key with which the host of validator 1 reports.
pub(crate) const REPORTER: u8 = 50;

/// The chain and what it has left behind.
pub(crate) struct Prepared {
    pub(crate) genesis: Genesis,
    /// Between blocks: an upgrade is locked in, its cancel, another upgrade and a change are live, some have ended.
    pub(crate) state: State,
    /// Of everything that was locked in or carried out.
    pub(crate) certificates: Vec<Certificate>,
    /// Of the changes that took effect.
    pub(crate) executed: Vec<Certificate>,
    /// Ballots and reports of ended proposals, in the order of their keys.
    pub(crate) archive: Vec<(Vec<u8>, Vec<u8>)>,
    /// Every transaction that was accepted.
    pub(crate) transactions: Vec<SignedTransaction>,
}

pub(crate) static PREPARED: LazyLock<Prepared> = LazyLock::new(prepare);

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn validator_id(seed: u8) -> ValidatorId {
    ValidatorId::at_entry(&PublicKey::from(&key(seed)))
}

fn newcomer(seed: u8, power: u64) -> GenesisValidator {
    GenesisValidator {
        name: format!("v{seed}"),
        governance_key: PublicKey::from(&key(seed)),
        consensus_key: PublicKey::from(&key(seed + 100)),
        power: Power(power),
    }
}

pub(crate) fn genesis() -> Genesis {
    Genesis {
        chain_id: "fuzz-1".parse().expect("a chain id"),
        initial_version: "1.0.0".parse().expect("a version"),
        parameters: Parameters {
            min_lead_blocks: 6,
            lock_in_blocks: 4,
            threshold_numerator: 2,
            threshold_denominator: 3,
        },
        validators: (1..=5).map(|seed| newcomer(seed, u64::from(seed) + 5)).collect(),
    }
}

pub(crate) fn upgrade(minor: u64, height: u64) -> Upgrade {
    Upgrade {
        version: format!("1.{minor}.0").parse().expect("a version"),
        height: Height(height),
        artifacts: vec![Artifact {
            platform: "linux/amd64".parse().expect("a platform"),
            url: "https://example.org/node".to_owned(),
            size: 1000,
            sha256: Digest::of(b"node"),
        }],
        description: "better".to_owned(),
    }
}

pub(crate) fn set_change(height: u64, changes: Vec<ValidatorChange>) -> Subject {
    Subject::Validators(ValidatorsChange {
        height: Height(height),
        changes,
        description: String::new(),
    })
}

/// The chain, its state before the open block, and every row that a shell would hold.
struct Chain(Prepared, State, BTreeMap<RowKey, Vec<u8>>);

impl Chain {
    fn send(&mut self, seed: u8, action: Action) {
        let validator = if let Action::ReportReadiness { validator, .. } = &action {
            *validator
        } else {
            let sender = self
                .0
                .state
                .validators()
                .by_governance_key(&PublicKey::from(&key(seed)));
            sender.expect("an active validator").id
        };
        let account = self.0.state.account(&validator).copied().unwrap_or_default();
        let is_report = matches!(action, Action::ReportReadiness { .. });
        let signed = Transaction {
            chain_id: self.0.genesis.chain_id.clone(),
            sequence: if is_report {
                account.next_report_sequence
            } else {
                account.next_sequence
            },
            last_valid_height: Height(1_000),
            action,
        }
        .sign(&key(seed));
        let verified = signed
            .verify(self.0.state.chain_id())
            .expect("an honest signature");
        self.0.state.apply(&verified).expect("a legal transaction");
        self.0.transactions.push(signed);
    }

    fn propose(&mut self, seed: u8, subject: &Subject) -> ProposalId {
        self.send(seed, subject.to_action());
        subject.id(&self.0.genesis.chain_id)
    }

    fn vote(&mut self, seeds: &[u8], proposal: ProposalId, choice: Choice) {
        for seed in seeds {
            self.send(*seed, Action::Vote { proposal, choice });
        }
    }

    fn next_block(&mut self) {
        self.end_block();
        let running = self.0.state.next_block_version().clone();
        let height = self.0.state.height().next().expect("a next height");
        self.0
            .state
            .begin_block(height, &running)
            .expect("the next block");
    }

    fn end_block(&mut self) {
        let events = self.0.state.end_block();
        for change in self.0.state.changes_since(&self.1) {
            match change.value {
                Some(value) => self.2.insert(change.key, value),
                None => self.2.remove(&change.key),
            };
        }
        self.1 = self.0.state.clone();
        self.0
            .certificates
            .extend_from_slice(self.0.state.new_certificates());
        for event in &events {
            if let Event::ValidatorsChanged { proposal_id, .. }
            | Event::ParametersChanged { proposal_id, .. } = event
            {
                let certificate = self
                    .0
                    .certificates
                    .iter()
                    .find(|certificate| certificate.proposal() == *proposal_id);
                self.0.executed.extend(certificate.cloned());
            }
        }
    }

    fn open(&mut self, height: u64) {
        while self.0.state.height() < Height(height) {
            self.next_block();
        }
    }
}

fn prepare() -> Prepared {
    let genesis = genesis();
    let mut state = State::from_genesis(&genesis).expect("a legal genesis");
    let first = state.clone();
    state
        .begin_block(Height(1), &genesis.initial_version)
        .expect("block 1");
    let parameters = Parameters {
        threshold_numerator: 3,
        threshold_denominator: 4,
        ..genesis.parameters
    };
    let mut chain = Chain(
        Prepared {
            genesis,
            state,
            certificates: Vec::new(),
            executed: Vec::new(),
            archive: Vec::new(),
            transactions: Vec::new(),
        },
        first,
        BTreeMap::new(),
    );
    let adding = set_change(8, vec![ValidatorChange::Add(newcomer(6, 6))]);
    let adding = chain.propose(1, &adding);
    chain.vote(&[2, 3, 4, 5], adding, Choice::Approve);
    let stricter = Subject::Parameters(ParametersChange {
        height: Height(9),
        parameters,
        description: "stricter".to_owned(),
    });
    let stricter = chain.propose(2, &stricter);
    chain.vote(&[1, 3, 4, 5], stricter, Choice::Approve);
    let rejected = chain.propose(3, &Subject::Upgrade(upgrade(1, 20)));
    chain.send(
        1,
        Action::AuthorizeReporter {
            key: Some(PublicKey::from(&key(REPORTER))),
        },
    );
    let validator = validator_id(1);
    chain.send(
        REPORTER,
        Action::ReportReadiness {
            validator,
            proposal: rejected,
            readiness: Readiness::Staged,
        },
    );
    chain.vote(&[1, 4], rejected, Choice::Reject);
    chain.open(10);
    let rotating = set_change(
        16,
        vec![
            ValidatorChange::RotateKeys {
                validator: validator_id(2),
                governance_key: Some(PublicKey::from(&key(60))),
                consensus_key: None,
            },
            ValidatorChange::SetPower {
                validator: validator_id(3),
                power: Power(9),
            },
        ],
    );
    let rotating = chain.propose(6, &rotating);
    chain.vote(&[1, 2, 3, 4, 5], rotating, Choice::Approve);
    let locked = chain.propose(1, &Subject::Upgrade(upgrade(2, 18)));
    chain.vote(&[2, 3, 4, 5, 6], locked, Choice::Approve);
    chain.open(16);
    chain.send(1, Action::ProposeCancel { target: locked });
    let open = chain.propose(4, &Subject::Upgrade(upgrade(3, 30)));
    chain.vote(&[5, 6], open, Choice::Approve);
    chain.vote(&[1], open, Choice::Reject);
    chain.send(6, Action::Withdraw { proposal: open });
    chain.send(
        REPORTER,
        Action::ReportReadiness {
            validator,
            proposal: locked,
            readiness: Readiness::Verified,
        },
    );
    let pending = chain.propose(
        5,
        &set_change(
            25,
            vec![ValidatorChange::Remove {
                validator: validator_id(6),
            }],
        ),
    );
    chain.vote(&[1, 3], pending, Choice::Approve);
    chain.end_block();
    let Chain(mut prepared, _, rows) = chain;
    prepared.archive = archive(&prepared.state, rows);
    prepared
}

/// The ballots and reports that have left the state with their proposals.
fn archive(state: &State, rows: BTreeMap<RowKey, Vec<u8>>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let is_archived = |key: &RowKey| match key {
        RowKey::Ballot(proposal, _) | RowKey::Report(proposal, _) => state
            .proposal(proposal)
            .is_some_and(|proposal| !proposal.phase.is_live()),
        RowKey::Header | RowKey::Validator(_) | RowKey::Account(_) | RowKey::Live(_) | RowKey::Ended(_) => {
            false
        }
    };
    let archived = rows.into_iter().filter(|(key, _)| is_archived(key));
    archived.map(|(key, value)| (key.to_bytes(), value)).collect()
}
