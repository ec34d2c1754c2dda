//! Bytes as a snapshot of a node, without the checksum that anybody can make: read, and verified against the genesis. An
//! accepted one must be the chain that the certificates allow, and its state a sound one.

use governance::check;

use super::chronicle::Chronicle;
use super::prepared::PREPARED;
use super::snapshot_file::{SnapshotFile, to_bytes};

pub(crate) fn run(data: &[u8]) {
    let _ = SnapshotFile::from_bytes(data);
    let snapshot = match SnapshotFile::from_content(data) {
        Ok(snapshot) => snapshot,
        Err(error) => return drop(error.to_string()),
    };
    let state = match snapshot.verify(&PREPARED.genesis) {
        Ok(state) => state,
        Err(error) => return drop(error.to_string()),
    };
    assert_eq!(check::violations(&state), []);
    let archive: Vec<_> = snapshot
        .archive()
        .iter()
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect();
    let again = to_bytes(&state, &snapshot.header().chronicle, &archive, snapshot.changes());
    assert_eq!(&again[..again.len() - 32], data, "a second encoding");
}

pub(crate) fn seeds() -> Vec<(String, Vec<u8>)> {
    let chronicle = Chronicle::genesis(PREPARED.state.chain_id());
    let bytes = to_bytes(&PREPARED.state, &chronicle, &PREPARED.archive, &PREPARED.executed);
    vec![("exported".to_owned(), bytes[..bytes.len() - 32].to_vec())]
}
