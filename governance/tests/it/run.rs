//! A random history under way: every step goes to the state and to the naive model, and both are compared.

use governance::{Action, BlockRefusal, Height, ProposalId, SignedTransaction, Transaction};

use crate::fixture::{chain_id, key, version};
use crate::history::Run;
use crate::invariants::{self, Failure, id_of, public, same};
use crate::model::{About, Entry, Key, Order, Told, What};

impl Run {
    pub(crate) fn in_turn(&self, signer: Key, what: What) -> Order {
        let sender = self
            .model
            .validators
            .iter()
            .find(|validator| validator.key == signer);
        let sequence = sender.map_or(0, |sender| self.model.account(sender.entered_with).sequence);
        Order {
            signer,
            sequence,
            last_valid: self.model.height,
            what,
        }
    }

    pub(crate) fn send(&mut self, signer: Key, what: What) -> Result<(), Failure> {
        self.order(self.in_turn(signer, what))
    }

    pub(crate) fn out_of_turn(&mut self, who: usize, skipped: u64, last_valid: u64) -> Result<(), Failure> {
        let mut order = self.in_turn(self.sender(who), What::Withdraw { id: self.pick(0) });
        order.sequence += skipped;
        order.last_valid = last_valid;
        self.order(order)
    }

    /// Anything but a proposal.
    pub(crate) fn order(&mut self, order: Order) -> Result<(), Failure> {
        let who = self.person(order.signer);
        let (action, line) = match &order.what {
            What::Propose { .. } => panic!("proposals go their own way"),
            What::Vote { id, choice } => {
                let line = format!("{who} {choice}s {}", self.label(*id));
                (
                    Action::Vote {
                        proposal: *id,
                        choice: *choice,
                    },
                    line,
                )
            }
            What::Withdraw { id } => {
                let line = format!("{who} withdraws from {}", self.label(*id));
                (Action::Withdraw { proposal: *id }, line)
            }
            What::Authorize { reporter } => {
                let line = format!("{who} lets key {reporter:?} report");
                (
                    Action::AuthorizeReporter {
                        key: reporter.map(public),
                    },
                    line,
                )
            }
            What::Report {
                validator,
                id,
                readiness,
            } => {
                let line = format!(
                    "key {} reports v{validator} {readiness} for {}",
                    order.signer,
                    self.label(*id)
                );
                let validator = id_of(*validator);
                (
                    Action::ReportReadiness {
                        validator,
                        proposal: *id,
                        readiness: *readiness,
                    },
                    line,
                )
            }
        };
        let line = format!(
            "{line}{}",
            odd(&order, &self.in_turn(order.signer, order.what.clone()))
        );
        let signed = self.sign(&order, action);
        let expected = self.model.send(&order);
        self.deliver(line, order, &signed, expected)
    }

    pub(crate) fn sign(&self, order: &Order, action: Action) -> SignedTransaction {
        Transaction {
            chain_id: chain_id("test-1"),
            sequence: order.sequence,
            last_valid_height: Height(order.last_valid),
            action,
        }
        .sign(&key(order.signer))
    }

    pub(crate) fn deliver(
        &mut self,
        line: String,
        order: Order,
        signed: &SignedTransaction,
        expected: Result<(), &'static str>,
    ) -> Result<(), Failure> {
        let verified = signed
            .verify(self.state.chain_id())
            .map_err(|rejection| Failure(format!("{line}: verify refuses it: {rejection}")))?;
        let before = self.state.clone();
        let checked = self.state.check(&verified);
        let applied = self.state.apply(&verified);
        let found = applied.as_ref().map(|_| ()).map_err(|rejection| rejection.code());
        self.log.push(format!(
            "block {} · {line} → {}",
            self.model.height,
            found.err().unwrap_or("ok")
        ));
        *self
            .reached
            .entry(found.err().unwrap_or("ok").to_owned())
            .or_default() += 1;
        same(
            "check and apply",
            &checked.err(),
            &applied.as_ref().err().cloned(),
        )?;
        same("the answer (by the model, by the state)", &expected, &found)?;
        match applied {
            Ok(events) => {
                self.last_accepted = Some((order, signed.clone()));
                self.hear(&events)?;
            }
            Err(_) => same("GOV-15: the state after a rejection", &self.state, &before)?,
        }
        self.compare()
    }

    /// The events say what the model says that happened.
    fn hear(&mut self, events: &[governance::Event]) -> Result<(), Failure> {
        let mut found: Vec<Told> = events.iter().map(invariants::told).collect::<Result<_, _>>()?;
        for told in &found {
            self.note(told);
        }
        let mut expected = std::mem::take(&mut self.model.told);
        found.sort();
        expected.sort();
        same("the events (by the model, by the state)", &expected, &found)?;
        self.story.read(events)
    }

    fn note(&mut self, told: &Told) {
        let (line, thing) = match told {
            Told::Became(id, from, to) => {
                let kind = match self.model.entry(*id).map(|entry| &entry.about) {
                    Some(About::Upgrade { .. }) => "upgrade",
                    Some(About::Validators { .. }) => "set change",
                    Some(About::Numbers { .. }) => "parameter change",
                    Some(About::Cancel { target }) => match self.model.entry(*target).map(Entry::is_change) {
                        Some(true) => "cancel of a change",
                        Some(false) | None => "cancel of an upgrade",
                    },
                    None => "nothing",
                };
                (
                    format!("{}: {from} → {to}", self.label(*id)),
                    format!("{kind} {to}"),
                )
            }
            Told::Lapsed(id, who) => (
                format!("the vote of v{who} on {} lapses", self.label(*id)),
                "lapse".to_owned(),
            ),
            Told::Moved(who, from, to) => (
                format!(
                    "the approval of v{who} moves from {} to {}",
                    self.label(*from),
                    self.label(*to)
                ),
                "move".to_owned(),
            ),
            Told::Dropped(id, code) => (
                format!("{} is dropped: {code}", self.label(*id)),
                format!("dropped {code}"),
            ),
            Told::Halted(id, ..) => (format!("halted by {}", self.label(*id)), "halt".to_owned()),
            Told::Activated(id, ..) => (format!("{} is running", self.label(*id)), "activation".to_owned()),
            Told::NewSet(_, count, total) => (
                format!("{count} validators of power {total}"),
                "new set".to_owned(),
            ),
            Told::NewNumbers(_, numbers) => (format!("{numbers:?}"), "new parameters".to_owned()),
            Told::Submitted(..) | Told::Cast(..) | Told::Withdrawn(..) | Told::Reporter(..) => return,
            Told::Ready(..) => return *self.reached.entry("report".to_owned()).or_default() += 1,
        };
        self.log.push(format!("block {} ·   {line}", self.model.height));
        *self.reached.entry(thing).or_default() += 1;
    }

    pub(crate) fn next_block(&mut self) -> Result<(), Failure> {
        let events = self.state.end_block();
        self.model.end();
        self.hear(&events)?;
        self.compare()?;
        let loaded = self.store.commit(&self.state, &events)?;
        if std::mem::take(&mut self.reload) {
            self.log
                .push(format!("block {} ·   loaded from its rows", self.model.height));
            self.state = loaded;
        }
        same(
            "the halt (by the state, by the model)",
            &self.state.halt().map(|halt| halt.proposal),
            &self.model.halted_by().map(|entry| entry.id),
        )?;
        let next = self.state.height().next().unwrap();
        let named = self.state.next_block_version().clone();
        let before = self.state.clone();
        for minor in 0..6 {
            let running = version(&format!("1.{minor}.0"));
            if running != named {
                let refusal = self.state.begin_block(next, &running);
                let newer = matches!(refusal, Err(BlockRefusal::NewerVersionRequired { .. }));
                same("whether a newer version is required", &newer, &(running < named))?;
            }
        }
        same("the state after a refused block", &self.state, &before)?;
        let events = self
            .state
            .begin_block(next, &named)
            .map_err(|refusal| Failure(refusal.to_string()))?;
        self.model.begin();
        self.hear(&events)?;
        self.compare()
    }

    pub(crate) fn compare(&self) -> Result<(), Failure> {
        invariants::nothing_is_violated(&self.state)?;
        invariants::the_model_agrees(&self.state, &self.model)?;
        invariants::the_events_tell_the_story(&self.state, &self.story)
    }

    pub(crate) fn label(&self, id: ProposalId) -> String {
        self.labels.get(&id).map_or("nothing".to_owned(), |label| {
            label.split(" (").next().unwrap_or_default().to_owned()
        })
    }

    pub(crate) fn person(&self, signer: Key) -> String {
        let validator = self
            .model
            .validators
            .iter()
            .find(|validator| validator.key == signer);
        validator.map_or(format!("key {signer}"), |validator| {
            format!("v{}", validator.entered_with)
        })
    }
}

/// What is unusual about an order.
fn odd(order: &Order, usual: &Order) -> String {
    let is_report = matches!(order.what, What::Report { .. });
    let mut text = String::new();
    if order.sequence != usual.sequence && !is_report {
        text += &format!(", sequence {} instead of {}", order.sequence, usual.sequence);
    }
    if order.last_valid < usual.last_valid {
        text += &format!(", valid up to {}", order.last_valid);
    }
    text
}
