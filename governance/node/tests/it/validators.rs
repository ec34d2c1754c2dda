//! The engine follows the validator set: who enters, leaves, gets another power or another key, decides from the next block on.

use governance::{
    Action, Choice, Event, GenesisValidator, Height, Power, ProposalId, PublicKey, Subject, ValidatorChange,
    ValidatorId, ValidatorsChange,
};

use crate::network::{Network, OLD, chain_id, consensus_key, governance_key};

fn id(validator: u8) -> ValidatorId {
    ValidatorId::at_entry(&PublicKey::from(&governance_key(validator)))
}

fn add(validator: u8) -> ValidatorChange {
    ValidatorChange::Add(GenesisValidator {
        name: format!("validator-{validator}"),
        governance_key: PublicKey::from(&governance_key(validator)),
        consensus_key: PublicKey::from(&consensus_key(validator)),
        power: Power(1),
    })
}

impl Network {
    /// Has the first of `voters` propose the change and all of them approve it, and waits until it is carried out on
    /// `observer`. Returns its id and height.
    pub(crate) async fn change_validators(
        &self,
        observer: usize,
        voters: &[u8],
        changes: Vec<ValidatorChange>,
    ) -> (ProposalId, u64) {
        let height = self.handle(observer).snapshot().height.0 + 10;
        let change = ValidatorsChange {
            height: Height(height),
            changes,
            description: String::new(),
        };
        let proposal = Subject::Validators(change.clone()).id(&chain_id());
        for (number, voter) in voters.iter().enumerate() {
            let action = if number == 0 {
                Action::ProposeValidators(change.clone())
            } else {
                Action::Vote {
                    proposal,
                    choice: Choice::Approve,
                }
            };
            self.commit(*voter, observer, action).await;
        }
        let record = self.wait_for_block(height).await;
        assert!(
            record
                .events
                .iter()
                .any(|event| matches!(event, Event::ValidatorsChanged { proposal_id, .. } if *proposal_id == proposal)),
            "{:?}",
            record.events
        );
        (proposal, height)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gov_12_the_engine_follows_every_change_of_the_set() {
    let mut network = Network::with_observers(4, 3);
    network.options.block_interval = std::time::Duration::from_millis(200);
    // The last host comes at the end.
    for host in 0..6 {
        network.start(host, OLD).unwrap();
    }
    network.wait_for_block(1).await;

    // Five validators, and one of the old ones is down: four of five are needed, so the new one votes.
    let (entered, _) = network.change_validators(0, &[0, 1, 2], vec![add(4)]).await;
    network.stop(3).await;
    network.advance(0, 4).await;

    // The one that is down leaves, another one gets more power.
    let changes = vec![ValidatorChange::Remove { validator: id(3) }];
    network.change_validators(0, &[0, 1, 2, 4], changes).await;
    let raised = vec![ValidatorChange::SetPower {
        validator: id(1),
        power: Power(2),
    }];
    network.change_validators(0, &[0, 1, 2], raised).await;
    assert_eq!(
        network.handle(0).snapshot().state.validators().total_power(),
        Power(5)
    );

    // Validator 0 moves to host 5: host 0 follows without voting, and with it and host 2 down host 5 is needed.
    let moved = vec![ValidatorChange::RotateKeys {
        validator: id(0),
        governance_key: None,
        consensus_key: Some(PublicKey::from(&consensus_key(5))),
    }];
    let (rotated, _) = network.change_validators(0, &[0, 1, 2], moved).await;
    network.advance(0, 3).await;
    network.stop(2).await;
    network.advance(0, 3).await;
    network.stop(0).await;
    network.advance(5, 3).await;

    // Everybody catches up across the changes: who was removed, who was away, and who begins with the genesis.
    for host in [0, 2, 3, 6] {
        network.start(host, OLD).unwrap();
    }
    let height = network.handle(5).snapshot().height.0 + 3;
    network.wait_for_block(height).await;

    // And each change is proven by itself and those before it.
    for host in [5, 6] {
        let handle = network.handle(host);
        let snapshot = handle.snapshot();
        for (proposal, before) in [(entered, 0), (rotated, 3)] {
            let chain = handle.certificate(&snapshot, &proposal).unwrap().unwrap();
            assert_eq!(chain.changes.len(), before);
            assert_eq!(chain.verify(&network.genesis).unwrap().proposal, proposal);
        }
        // Ballots of what has ended are in the archive.
        let ballots = handle.ballots(&snapshot, &entered, None, 10).unwrap();
        assert_eq!(ballots.len(), 3);
        let second = handle
            .ballots(&snapshot, &entered, Some(&ballots[0].0), 1)
            .unwrap();
        assert_eq!(second, ballots[1..2]);
    }
    network.stop_all().await;
}
