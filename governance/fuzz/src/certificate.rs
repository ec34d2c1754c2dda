//! Bytes as a certificate, with the tag and the checksum that anybody can make; what is proven must have been accepted.

use governance::{CertificateChain, Digest, verify_changes};

use super::prepared::PREPARED;

const TAG: &[u8] = b"visor/governance/v1/certificate\0";

pub(crate) fn run(data: &[u8]) {
    judge(data);
    let mut file = [TAG, data].concat();
    let checksum = Digest::of(&file);
    file.extend_from_slice(&checksum.0);
    judge(&file);
}

fn judge(file: &[u8]) {
    let chain = match CertificateChain::from_bytes(file) {
        Ok(chain) => chain,
        Err(error) => return drop(error.to_string()),
    };
    assert_eq!(chain.to_bytes(), file, "a second encoding");
    match chain.verify(&PREPARED.genesis) {
        Ok(proven) => {
            let known = PREPARED
                .certificates
                .iter()
                .any(|certificate| certificate.proposal() == proven.proposal);
            assert!(known, "{} was never accepted", proven.proposal);
        }
        Err(error) => drop(error.to_string()),
    }
    let _ = verify_changes(&PREPARED.genesis, &chain.changes);
}

pub(crate) fn seeds() -> Vec<(String, Vec<u8>)> {
    let certificates = PREPARED.certificates.iter().enumerate();
    certificates
        .map(|(number, certificate)| {
            let chain = CertificateChain::new(PREPARED.executed.iter().cloned(), certificate.clone());
            let bytes = chain.to_bytes();
            let canonical = &bytes[TAG.len()..bytes.len() - Digest::LENGTH];
            (format!("certificate-{number}"), canonical.to_vec())
        })
        .collect()
}
