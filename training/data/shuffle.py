"""An order of records that is never stored: place `step` of it is computed when it is asked for.

Each epoch is another permutation of all records, so the state of a shuffled pass over the data is
one integer. Knows no data.
"""

_NUM_ROUNDS = 6
_MASK = (1 << 64) - 1


def place(step: int, num_records: int, seed: int) -> int:
    """Which record comes at a step, counted from 0 through all epochs.

    A Feistel network permutes the smallest even power of two that holds all records (Luby and
    Rackoff 1988); where it leads beyond them it is applied again until it does not (cycle walking,
    Black and Rogaway 2002), fewer than four times on average.
    """
    assert step >= 0
    assert num_records > 0
    epoch, index = divmod(step, num_records)
    half_bits = max((num_records - 1).bit_length() + 1, 2) // 2
    key = _mix(_mix(seed & _MASK) ^ epoch)
    while True:
        index = _permuted(index, half_bits, key)
        if index < num_records:
            return index


def _permuted(index: int, half_bits: int, key: int) -> int:
    """A bijection of the integers below 4^half_bits."""
    mask = (1 << half_bits) - 1
    left, right = index >> half_bits, index & mask
    for number in range(_NUM_ROUNDS):
        left, right = right, left ^ (_mix(key ^ (number << 56) ^ right) & mask)
    return (left << half_bits) | right


def _mix(value: int) -> int:
    """SplitMix64's step and finalizer (Steele, Lea and Flood 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
