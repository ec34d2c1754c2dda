//! Ed25519 verification, one at a time and many at once, with one answer.
//!
//! The rules are those of ZIP 215: the equation is multiplied by the cofactor 8, and point encodings need not be
//! canonical. They are the only known ones under which a batch is valid exactly when each of its signatures is; a
//! verifier without the cofactor accepts some signatures in one batch and not in the next, and nodes that differ on a
//! transaction fork. ed25519-dalek signs and holds keys; its verification, strict or batched, is of that other kind.
//!
//! On top of ZIP 215, public keys of small order are refused: a signature under them can be valid for any message.

use alloc::vec::Vec;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity as _, VartimeMultiscalarMul as _};
use sha2::{Digest as _, Sha512};

use crate::bytes::{PublicKey, Signature};

/// A public key as a point of the curve, ready to verify with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VerificationKey {
    encoded: PublicKey,
    minus: EdwardsPoint,
}

impl VerificationKey {
    /// `None` when the bytes are no point, or one of small order.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "points of a group have no overflow"
    )]
    pub(crate) fn new(key: &PublicKey) -> Option<Self> {
        let point = CompressedEdwardsY(key.0).decompress()?;
        (!point.is_small_order()).then_some(Self {
            encoded: *key,
            minus: -point,
        })
    }

    /// Whether `signature` is valid for `message`.
    pub(crate) fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        self.claim(&[message], signature)
            .is_some_and(|claim| claim.holds())
    }

    /// The equation that the signature claims for the message in `parts`; `None` when it has no legal form.
    pub(crate) fn claim(&self, parts: &[&[u8]], signature: &Signature) -> Option<Claim<'_>> {
        let (r, s) = signature.0.split_at(32);
        let r = <[u8; 32]>::try_from(r).ok()?;
        let s = Option::from(Scalar::from_canonical_bytes(<[u8; 32]>::try_from(s).ok()?))?;
        let mut hasher = Sha512::new();
        hasher.update(r);
        hasher.update(self.encoded.0);
        for part in parts {
            hasher.update(part);
        }
        Some(Claim {
            s,
            r: CompressedEdwardsY(r).decompress()?,
            k: Scalar::from_bytes_mod_order_wide(&hasher.finalize().into()),
            minus_key: &self.minus,
        })
    }
}

/// 8 s B = 8 R + 8 k A, for base point B and public key A.
pub(crate) struct Claim<'a> {
    s: Scalar,
    r: EdwardsPoint,
    k: Scalar,
    minus_key: &'a EdwardsPoint,
}

impl Claim<'_> {
    /// Whether it is true.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "points of a group have no overflow"
    )]
    pub(crate) fn holds(&self) -> bool {
        let r = EdwardsPoint::vartime_double_scalar_mul_basepoint(&self.k, self.minus_key, &self.s);
        (r - self.r).mul_by_cofactor().is_identity()
    }
}

/// Whether all of them are true: a random linear combination of the equations, some four times faster than one by one.
///
/// The factors are drawn from a hash over all claims: nobody can choose signatures that fit them, and every node draws
/// the same ones. A false claim passes with a probability of 2⁻¹²⁸.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "scalars and points have no overflow"
)]
pub(crate) fn all_hold<'a>(claims: impl ExactSizeIterator<Item = &'a Claim<'a>> + Clone) -> bool {
    let mut transcript = blake3::Hasher::new();
    for claim in claims.clone() {
        // k is itself a hash over R, key and message.
        transcript.update(claim.k.as_bytes());
        transcript.update(claim.s.as_bytes());
    }
    let mut factors = alloc::vec![0; claims.len().saturating_mul(16)];
    transcript.finalize_xof().fill(&mut factors);
    let (factors, _) = factors.as_chunks::<16>();
    let mut base = Scalar::ZERO;
    let mut of_nonces = Vec::with_capacity(claims.len());
    let mut of_keys = Vec::with_capacity(claims.len());
    for (claim, factor) in claims.clone().zip(factors) {
        let factor = Scalar::from(u128::from_le_bytes(*factor));
        base += factor * claim.s;
        of_nonces.push(-factor);
        of_keys.push(factor * claim.k);
    }
    let nonces = claims.clone().map(|claim| &claim.r);
    let keys = claims.map(|claim| claim.minus_key);
    EdwardsPoint::vartime_multiscalar_mul(
        [base].iter().chain(&of_nonces).chain(&of_keys),
        [&ED25519_BASEPOINT_POINT].into_iter().chain(nonces).chain(keys),
    )
    .mul_by_cofactor()
    .is_identity()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    fn signed(seed: u8, message: &[u8]) -> (VerificationKey, Signature) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let signature = Signature(key.sign(message).to_bytes());
        (VerificationKey::new(&(&key).into()).unwrap(), signature)
    }

    fn claims<'a>(signed: &'a [(VerificationKey, Signature)], message: &[u8]) -> Vec<Claim<'a>> {
        signed
            .iter()
            .map(|(key, signature)| key.claim(&[message], signature).unwrap())
            .collect()
    }

    #[test]
    fn honest_signatures_hold_alone_and_together() {
        let all: Vec<_> = (1..20).map(|seed| signed(seed, b"message")).collect();
        assert!(
            all.iter()
                .all(|(key, signature)| key.verify(b"message", signature))
        );
        assert!(all_hold(claims(&all, b"message").iter()));
        assert!(all_hold([].iter()));
    }

    #[test]
    fn one_false_signature_spoils_the_batch() {
        let mut all: Vec<_> = (1..20).map(|seed| signed(seed, b"message")).collect();
        all[7].1 = signed(8, b"another").1;
        assert!(!all[7].0.verify(b"message", &all[7].1));
        assert!(!all_hold(claims(&all, b"message").iter()));
    }

    /// R plus a point of order 8: valid under the cofactor, and so in every batch; without it, in one batch of eight.
    #[test]
    fn a_signature_with_a_torsion_component_is_judged_the_same_everywhere() {
        let torsion = curve25519_dalek::constants::EIGHT_TORSION[1];
        for seed in 1..40 {
            let key = SigningKey::from_bytes(&[seed; 32]);
            let verification = VerificationKey::new(&(&key).into()).unwrap();
            let secret = key.to_scalar();
            let nonce = Scalar::from(u64::from(seed) + 5);
            let r = EdwardsPoint::mul_base(&nonce) + torsion;
            let mut hasher = Sha512::new();
            hasher.update(r.compress().as_bytes());
            hasher.update(verification.encoded.0);
            hasher.update(b"message");
            let k = Scalar::from_bytes_mod_order_wide(&hasher.finalize().into());
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(r.compress().as_bytes());
            signature[32..].copy_from_slice((nonce + k * secret).as_bytes());
            let signature = Signature(signature);
            assert!(verification.verify(b"message", &signature));
            assert!(all_hold(
                claims(&[(verification, signature), signed(seed, b"message")], b"message").iter()
            ));
        }
    }

    #[test]
    fn keys_of_small_order_and_bytes_that_are_no_point_are_refused() {
        for point in curve25519_dalek::constants::EIGHT_TORSION {
            assert_eq!(VerificationKey::new(&PublicKey(point.compress().0)), None);
        }
        let mut no_point = [0; 32];
        no_point[0] = 2;
        assert_eq!(VerificationKey::new(&PublicKey(no_point)), None);
    }

    /// Adding the group's order to s gives a second encoding of the same signature.
    #[test]
    fn a_second_encoding_of_a_signature_is_refused() {
        let (key, mut signature) = signed(1, b"message");
        let order = [
            0xed_u8, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
            0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut carry = 0_u16;
        for (byte, added) in signature.0[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(added) + carry;
            *byte = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
        assert!(!key.verify(b"message", &signature));
    }
}
