//! Bytes as a transaction: decoded, encoded again, verified, and applied to a state in the middle of its life; then once
//! more as its sender would have signed it, so that what comes after the signature is reached.

use governance::{Action, Height, PublicKey, SignedTransaction, State, check};

use super::prepared::{PREPARED, REPORTER, key};

pub(crate) fn run(data: &[u8]) {
    let Ok(signed) = SignedTransaction::from_canonical(data) else {
        return;
    };
    assert_eq!(signed.to_canonical(), data, "a second encoding");
    let mut state = PREPARED.state.clone();
    let running = state.next_block_version().clone();
    let height = state.height().next().expect("a next height");
    state.begin_block(height, &running).expect("the next block");
    deliver(&mut state, &signed);
    // Which of the validators is the sender depends on bytes that stay through most mutations.
    let seed = [1, 60, 3, 4, 5, 6][usize::from(signed.signature.0[0]) % 6];
    let mut transaction = signed.transaction;
    transaction.chain_id = state.chain_id().clone();
    transaction.last_valid_height = Height(u64::MAX);
    let (seed, sequence) = if let Action::ReportReadiness { validator, .. } = &transaction.action {
        let account = state.account(validator).copied().unwrap_or_default();
        (REPORTER, account.next_report_sequence)
    } else {
        let sender = state.validators().by_governance_key(&PublicKey::from(&key(seed)));
        (seed, sender.map_or(0, |sender| state.next_sequence(&sender.id)))
    };
    transaction.sequence = sequence;
    let signed = transaction.sign(&key(seed));
    deliver(&mut state, &signed);
    for _ in 0..3 {
        let _ = state.end_block();
        sound(&state);
        let loaded = State::from_rows(state.rows()).expect("its own rows");
        assert_eq!(loaded.state_root(), state.state_root());
        let running = state.next_block_version().clone();
        let height = state.height().next().expect("a next height");
        state.begin_block(height, &running).expect("the next block");
    }
}

fn deliver(state: &mut State, signed: &SignedTransaction) {
    let verified = match signed.verify(state.chain_id()) {
        Ok(verified) => verified,
        Err(rejection) => return drop(rejection.to_string()),
    };
    let before = state.clone();
    let checked = state.check(&verified);
    let applied = state.apply(&verified);
    assert_eq!(
        checked.err(),
        applied.as_ref().err().cloned(),
        "check and apply differ"
    );
    if let Err(rejection) = applied {
        assert_eq!(*state, before, "GOV-15: {rejection}");
    }
    sound(state);
}

fn sound(state: &State) {
    let violations = check::violations(state);
    assert!(violations.is_empty(), "{violations:?}");
}

pub(crate) fn seeds() -> Vec<(String, Vec<u8>)> {
    let transactions = PREPARED.transactions.iter().enumerate();
    transactions
        .map(|(number, signed)| (format!("sent-{number}"), signed.to_canonical()))
        .collect()
}
