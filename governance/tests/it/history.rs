//! Random histories: what is sent to a chain, and how it is sent to the state and to the naive model side by side.

use std::collections::BTreeMap;

use governance::{
    Choice, GenesisValidator, Height, Parameters, ParametersChange, Phase, Power, ProposalId, Readiness,
    SignedTransaction, State, Subject, Upgrade, ValidatorChange, ValidatorsChange,
};

use crate::fixture::{artifact, genesis, version};
use crate::invariants::{Failure, Story, id_of, public};
use crate::model::{About, Change, Entry, Key, Model, Numbers, Order, Validator, What};
use crate::store::Store;

/// A chain. Its validators have the governance keys 1, 2, .. and the consensus keys 101, 102, ..
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) powers: Vec<u64>,
    pub(crate) numbers: Numbers,
}

/// Numbers that pick somebody or something are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Upgrade {
        who: usize,
        minor: u64,
        lead: u64,
        variant: u8,
    },
    Validators {
        who: usize,
        lead: u64,
        changes: Vec<Wish>,
    },
    Numbers {
        who: usize,
        lead: u64,
        numbers: Numbers,
    },
    /// Two changes at one height, or at heights so near that the second is latched before the first takes effect; everybody
    /// approves both.
    Twins {
        who: usize,
        lead: u64,
        later: u64,
        first: Vec<Wish>,
        second: Vec<Wish>,
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
    /// Proposes to cancel what is locked in, if something is; everybody approves it if `carry`.
    CancelLockedIn {
        who: usize,
        pick: usize,
        carry: bool,
    },
    Authorize {
        who: usize,
        reporter: Option<Key>,
    },
    Report {
        who: usize,
        pick: usize,
        readiness: Readiness,
    },
    /// Ends blocks until something has been latched, one way or the other, or nothing is open.
    UntilLatch,
    /// Ends blocks until what is locked in has had its height, or nothing is locked in.
    UntilDue,
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
    /// The next block is begun by a state that was loaded from its rows.
    Reload,
}

/// One change of the validator set, before it is known who there is.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Add {
        key: Key,
        block_key: Key,
        name: Key,
        power: u64,
    },
    Remove {
        who: usize,
    },
    Power {
        who: usize,
        power: u64,
    },
    Rotate {
        who: usize,
        key: Option<Key>,
        block_key: Option<Key>,
    },
}

/// Somebody who is no validator and never was one.
const STRANGER: Key = 99;

pub(crate) struct Run {
    pub(crate) state: State,
    pub(crate) model: Model,
    /// One line per thing done.
    pub(crate) log: Vec<String>,
    /// How often each thing was reached, for those who count.
    pub(crate) reached: BTreeMap<String, usize>,
    pub(crate) story: Story,
    pub(crate) labels: BTreeMap<ProposalId, String>,
    pub(crate) last_accepted: Option<(Order, SignedTransaction)>,
    pub(crate) reload: bool,
    pub(crate) store: Store,
}

pub(crate) fn parameters(numbers: Numbers) -> Parameters {
    Parameters {
        min_lead_blocks: numbers.min_lead,
        lock_in_blocks: numbers.lock_in,
        threshold_numerator: numbers.part.0,
        threshold_denominator: numbers.part.1,
    }
}

fn entering(validator: &Validator) -> GenesisValidator {
    GenesisValidator {
        name: format!("validator-{}", validator.name),
        governance_key: public(validator.key),
        consensus_key: public(validator.block_key),
        power: Power(validator.power),
    }
}

/// The same subject in the crate's words. `variant` makes contents differ that would be one.
fn subject(about: &About, variant: u8) -> Subject {
    let description = variant.to_string();
    match about {
        About::Upgrade { minor, height } => Subject::Upgrade(Upgrade {
            version: version(&format!("1.{minor}.0")),
            height: Height(*height),
            artifacts: vec![artifact("linux/amd64")],
            description,
        }),
        About::Cancel { target } => Subject::Cancel { target: *target },
        About::Validators { height, changes } => Subject::Validators(ValidatorsChange {
            height: Height(*height),
            changes: changes
                .iter()
                .map(|change| match change {
                    Change::Add(validator) => ValidatorChange::Add(entering(validator)),
                    Change::Remove(who) => ValidatorChange::Remove {
                        validator: id_of(*who),
                    },
                    Change::Power(who, power) => ValidatorChange::SetPower {
                        validator: id_of(*who),
                        power: Power(*power),
                    },
                    Change::Rotate(who, key, block_key) => ValidatorChange::RotateKeys {
                        validator: id_of(*who),
                        governance_key: key.map(public),
                        consensus_key: block_key.map(public),
                    },
                })
                .collect(),
            description,
        }),
        About::Numbers { height, numbers } => Subject::Parameters(ParametersChange {
            height: Height(*height),
            parameters: parameters(*numbers),
            description,
        }),
    }
}

impl Run {
    pub(crate) fn new(setup: &Setup) -> Result<Self, Failure> {
        let mut genesis = genesis(&setup.powers);
        genesis.parameters = parameters(setup.numbers);
        let mut state = State::from_genesis(&genesis).unwrap();
        let store = Store::new(&genesis, &state);
        state.begin_block(Height(1), &version("1.0.0")).unwrap();
        let validators = setup.powers.iter().enumerate().map(|(index, power)| {
            let index = Key::try_from(index).unwrap();
            Validator {
                entered_with: index + 1,
                key: index + 1,
                block_key: index + 101,
                name: index,
                power: *power,
            }
        });
        let model = Model::new(validators.collect(), setup.numbers);
        let powers: Vec<String> = model
            .validators
            .iter()
            .map(|validator| format!("v{} {}", validator.entered_with, validator.power))
            .collect();
        let Numbers {
            min_lead,
            lock_in,
            part,
        } = setup.numbers;
        let numbers = format!(
            "lead {min_lead}, lock-in {lock_in}, more than {}/{}",
            part.0, part.1
        );
        let run = Self {
            state,
            model,
            log: vec![format!("powers {} · {numbers}", powers.join(", "))],
            reached: BTreeMap::new(),
            story: Story::default(),
            labels: BTreeMap::new(),
            last_accepted: None,
            reload: false,
            store,
        };
        run.compare()?;
        Ok(run)
    }

    pub(crate) fn take(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Upgrade {
                who,
                minor,
                lead,
                variant,
            } => {
                let height = self.model.height + lead;
                let who = self.sender(*who);
                self.propose(
                    who,
                    About::Upgrade {
                        minor: *minor,
                        height,
                    },
                    *variant,
                )
            }
            Step::Validators { who, lead, changes } => {
                let height = self.model.height + lead;
                let changes = changes.iter().map(|wish| self.change(wish)).collect();
                let who = self.sender(*who);
                self.propose(who, About::Validators { height, changes }, 0)
            }
            Step::Numbers { who, lead, numbers } => {
                let height = self.model.height + lead;
                let who = self.sender(*who);
                self.propose(
                    who,
                    About::Numbers {
                        height,
                        numbers: *numbers,
                    },
                    0,
                )
            }
            Step::Twins {
                who,
                lead,
                later,
                first,
                second,
            } => {
                let height = self.model.height + self.model.numbers.min_lead + lead;
                for (height, wishes) in [(height, first), (height + later, second)] {
                    let changes = wishes.iter().map(|wish| self.change(wish)).collect();
                    let before = self.model.proposals.len();
                    self.propose(self.sender(*who), About::Validators { height, changes }, 1)?;
                    if self.model.proposals.len() > before {
                        self.carry(self.pick(0))?;
                    }
                }
                Ok(())
            }
            Step::Vote { who, pick, choice } => {
                let what = What::Vote {
                    id: self.pick(*pick),
                    choice: *choice,
                };
                self.send(self.sender(*who), what)
            }
            Step::Carry { pick } => self.carry(self.pick(*pick)),
            Step::Withdraw { who, pick } => {
                let what = What::Withdraw { id: self.pick(*pick) };
                self.send(self.sender(*who), what)
            }
            Step::Cancel { who, pick } => {
                let target = self.pick(*pick);
                self.propose(self.sender(*who), About::Cancel { target }, 0)
            }
            Step::CancelLockedIn { who, pick, carry } => {
                let locked_in = |entry: &&Entry| entry.phase == Phase::LockedIn;
                let targets: Vec<_> = self.model.proposals.iter().filter(locked_in).collect();
                let Some(target) = nth(&targets, *pick).map(|entry| entry.id) else {
                    return Ok(());
                };
                self.propose(self.sender(*who), About::Cancel { target }, 0)?;
                if *carry {
                    self.carry(subject(&About::Cancel { target }, 0).id(self.state.chain_id()))?;
                }
                Ok(())
            }
            Step::Authorize { who, reporter } => {
                self.send(self.sender(*who), What::Authorize { reporter: *reporter })
            }
            Step::Report { who, pick, readiness } => {
                let known: Vec<Key> = (1..=20)
                    .filter(|who| self.model.account(*who).reporter.is_some())
                    .collect();
                // Somebody whose host may report, or else somebody whose host may not.
                let validator = nth(&known, *who).copied().unwrap_or(1);
                let signer = self.model.account(validator).reporter.unwrap_or(201);
                let id = self.pick(*pick);
                self.order(Order {
                    signer,
                    sequence: self.model.account(validator).reports,
                    last_valid: u64::MAX,
                    what: What::Report {
                        validator,
                        id,
                        readiness: *readiness,
                    },
                })
            }
            Step::UntilLatch => {
                let open = |model: &Model| model.proposals.iter().filter(|entry| entry.votes_count()).count();
                let before = open(&self.model);
                while before > 0 && open(&self.model) == before {
                    self.next_block()?;
                }
                Ok(())
            }
            Step::UntilDue => {
                let locked_in = |model: &Model| {
                    let is = |entry: &&Entry| entry.phase == Phase::LockedIn;
                    model.proposals.iter().filter(is).count()
                };
                let before = locked_in(&self.model);
                while before > 0 && locked_in(&self.model) >= before {
                    self.next_block()?;
                }
                Ok(())
            }
            Step::Replay => {
                let Some((order, signed)) = self.last_accepted.clone() else {
                    return Ok(());
                };
                let expected = self.model.send(&order);
                self.deliver("the last accepted one again".to_owned(), order, &signed, expected)
            }
            Step::Gap { who } => self.out_of_turn(*who, 1, u64::MAX),
            Step::Late { who } => self.out_of_turn(*who, 0, self.model.height - 1),
            Step::Blocks { count } => (0..*count).try_for_each(|_| self.next_block()),
            Step::Reload => {
                self.reload = true;
                self.next_block()
            }
        }
    }

    /// The governance key of one of the validators, or one that was theirs, or a stranger's.
    pub(crate) fn sender(&self, who: usize) -> Key {
        let mut keys: Vec<Key> = self
            .model
            .validators
            .iter()
            .map(|validator| validator.key)
            .collect();
        let former = (1..=20).filter(|key| {
            let is_known =
                self.model.accounts.contains_key(key) || usize::from(*key) <= self.model.validators.len();
            is_known && !keys.contains(key)
        });
        let other = former.max().unwrap_or(STRANGER);
        keys.push(other);
        keys[who % keys.len()]
    }

    fn member(&self, who: usize) -> Key {
        let entered: Vec<Key> = self
            .model
            .validators
            .iter()
            .map(|validator| validator.entered_with)
            .collect();
        entered[who % entered.len()]
    }

    fn change(&self, wish: &Wish) -> Change {
        match wish {
            Wish::Add {
                key,
                block_key,
                name,
                power,
            } => Change::Add(Validator {
                entered_with: *key,
                key: *key,
                block_key: *block_key,
                name: *name,
                power: *power,
            }),
            Wish::Remove { who } => Change::Remove(self.member(*who)),
            Wish::Power { who, power } => Change::Power(self.member(*who), *power),
            Wish::Rotate { who, key, block_key } => Change::Rotate(self.member(*who), *key, *block_key),
        }
    }

    pub(crate) fn pick(&self, pick: usize) -> ProposalId {
        let newest = self.model.proposals.iter().rev().nth(pick);
        newest.map_or(ProposalId([0; 32]), |entry| entry.id)
    }

    fn propose(&mut self, signer: Key, about: About, variant: u8) -> Result<(), Failure> {
        let subject = subject(&about, variant);
        let id = subject.id(self.state.chain_id());
        let name = match &about {
            About::Upgrade { minor, height } => format!("v1.{minor}.0@{height}"),
            About::Cancel { target } => format!("cancel of {}", self.label(*target)),
            About::Validators { height, changes } => {
                let changes: Vec<String> = changes.iter().map(describe).collect();
                format!("validators@{height} ({})", changes.join(", "))
            }
            About::Numbers { height, numbers } => format!("parameters@{height} ({numbers:?})"),
        };
        let twin = self
            .labels
            .iter()
            .any(|(other, label)| *other != id && *label == name);
        let label = if twin { format!("{name}#{variant}") } else { name };
        self.labels.entry(id).or_insert(label);
        // Whose account it is decides the sequence number; the model knows.
        let what = What::Propose { id, about };
        let order = self.in_turn(signer, what);
        let signed = self.sign(&order, subject.to_action());
        let line = format!("{} proposes {}", self.person(signer), self.label(id));
        let expected = self.model.send(&order);
        self.deliver(line, order, &signed, expected)
    }

    fn carry(&mut self, id: ProposalId) -> Result<(), Failure> {
        let keys: Vec<Key> = self
            .model
            .validators
            .iter()
            .map(|validator| validator.key)
            .collect();
        keys.into_iter().try_for_each(|signer| {
            self.send(
                signer,
                What::Vote {
                    id,
                    choice: Choice::Approve,
                },
            )
        })
    }
}

fn describe(change: &Change) -> String {
    match change {
        Change::Add(Validator {
            entered_with,
            block_key,
            name,
            power,
            ..
        }) => {
            format!("add v{entered_with} with {block_key}, called {name}, of {power}")
        }
        Change::Remove(who) => format!("remove v{who}"),
        Change::Power(who, power) => format!("v{who} to {power}"),
        Change::Rotate(who, key, block_key) => format!("v{who} rotates to {key:?}, {block_key:?}"),
    }
}

fn nth<T>(list: &[T], index: usize) -> Option<&T> {
    list.get(index.checked_rem(list.len())?)
}
