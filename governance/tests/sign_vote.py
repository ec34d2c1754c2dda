#!/usr/bin/env python3
"""Signs a vote from the byte layout in ../README.md alone, with nothing but Python's standard library.

Prints the canonical bytes of the signed transaction as hexadecimal digits:

    sign_vote.py SECRET CHAIN_ID SEQUENCE LAST_VALID_HEIGHT PROPOSAL approve|reject

SECRET is the 32 secret bytes of the governance key and PROPOSAL the proposal's id, both as 64 hexadecimal digits.
The secret stands on the command line, where other users of the machine can read it: for tests, not for validators.
"""

import hashlib
import struct
import sys

# Ed25519, RFC 8032, section 5.1. Points are (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
BASE_Y = 4 * pow(5, P - 2, P) % P
BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
BASE = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)
NEUTRAL = (0, 1, 1, 0)


def add(first, second):
    a = (first[1] - first[0]) * (second[1] - second[0]) % P
    b = (first[1] + first[0]) * (second[1] + second[0]) % P
    c = 2 * first[3] * second[3] * D % P
    d = 2 * first[2] * second[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, point):
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def encode_point(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def sha512(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def keys(secret):
    """The secret scalar, the prefix of the nonce, and the public key."""
    digest = hashlib.sha512(secret).digest()
    scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    return scalar, digest[32:], encode_point(multiply(scalar, BASE))


def sign(secret, message):
    scalar, prefix, public = keys(secret)
    nonce = sha512(prefix, message) % ORDER
    r = encode_point(multiply(nonce, BASE))
    s = (nonce + sha512(r, public, message) * scalar) % ORDER
    return r + s.to_bytes(32, "little")


# Canonical bytes: integers are big-endian, 8 bytes for numbers and lengths, 4 for the index of a variant.
def u64(number):
    return struct.pack(">Q", number)


def variant(index):
    return struct.pack(">I", index)


def text(value):
    encoded = value.encode("utf-8")
    return u64(len(encoded)) + encoded


VOTE = 2
CHOICES = {"approve": 0, "reject": 1}
TRANSACTION_TAG = b"visor/governance/v1/transaction\0"


def signed_vote(secret, chain_id, sequence, last_valid_height, proposal, choice):
    action = variant(VOTE) + proposal + variant(CHOICES[choice])
    transaction = text(chain_id) + u64(sequence) + u64(last_valid_height) + action
    return transaction + keys(secret)[2] + sign(secret, TRANSACTION_TAG + transaction)


def main():
    if len(sys.argv) != 7 or sys.argv[6] not in CHOICES:
        sys.exit(__doc__)
    secret, chain_id, sequence, last_valid_height, proposal, choice = sys.argv[1:]
    secret, proposal = bytes.fromhex(secret), bytes.fromhex(proposal)
    if len(secret) != 32 or len(proposal) != 32:
        sys.exit("expected 64 hexadecimal digits each for the secret and the proposal")
    print(signed_vote(secret, chain_id, int(sequence), int(last_valid_height), proposal, choice).hex())


if __name__ == "__main__":
    main()
