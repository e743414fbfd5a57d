"""Of files that are the same, or nearly, the first one is kept.

The same: equal but for white space. Nearly: of their sets of five consecutive words, 70 % are
shared, as estimated by MinHash and found by locality-sensitive hashing (Broder 1997; thresholds as
in the deduplication of The Stack, 2211.15533). The hashing is `rensa`'s. All signatures are in
memory, 0.6 kB a file: beyond ten million files take datatrove's MinHash steps instead.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator

from rensa import RMinHash, RMinHashLSH

from training.data.source import SourceFile

SIMILARITY = 0.7
"""Jaccard."""
_NUM_WORDS = 5
_NUM_HASHES = 128
_NUM_BANDS = 16
"""Of eight hashes each: two files of similarity s meet with 1 - (1 - s^8)^16, at 0.7 that is 61 %,
at 0.8 it is 95 %, at 0.5 it is 6 %."""
_SEED = 1
_WORD = re.compile(r"\w+|[^\w\s]")


def deduplicate(files: Iterable[SourceFile]) -> Iterator[SourceFile]:
    """Drop files that are the same as an earlier one, or nearly."""
    seen: set[bytes] = set()
    signatures: list[RMinHash] = []
    lsh = RMinHashLSH(SIMILARITY, _NUM_HASHES, _NUM_BANDS)
    for file in files:
        if file.dropped:
            yield file
            continue
        words = _WORD.findall(file.text)
        digest = hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).digest()
        if digest in seen:
            yield file.drop("dedupe", "exact")
            continue
        signature = _signature(words)
        if any(
            signature.jaccard(signatures[other]) >= SIMILARITY for other in lsh.query(signature)
        ):
            yield file.drop("dedupe", "near")
            continue
        seen.add(digest)
        lsh.insert(len(signatures), signature)
        signatures.append(signature)
        yield file


def _signature(words: list[str]) -> RMinHash:
    num_shingles = max(len(words) - _NUM_WORDS + 1, 1)
    signature = RMinHash(_NUM_HASHES, _SEED)
    signature.update([" ".join(words[index : index + _NUM_WORDS]) for index in range(num_shingles)])
    return signature
