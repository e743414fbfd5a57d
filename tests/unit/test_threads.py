"""How many threads compute."""

from dataclasses import replace
from pathlib import Path

import torch

from sampler.kernels.cpu import library
from sampler.profile import write_profile
from sampler.threads import choose_threads, time_threads
from sampler.tuner import prepare_threads
from tests.tuning import CONFIG, TARGET, profile


def test_fewer_threads_unless_more_are_clearly_faster() -> None:
    assert choose_threads({2: 10.0, 4: 9.9}) == 2
    assert choose_threads({2: 10.0, 4: 8.0}) == 4
    assert choose_threads({2: 10.0, 4: 12.0}) == 2
    assert choose_threads({3: 1.0}) == 3


def test_threads_are_tried_on_a_few_layers() -> None:
    before = torch.get_num_threads()
    for is_native in (False, library.is_available()):
        times_ms = time_threads(CONFIG, (1, 2), is_native=is_native, dtype=torch.float32)
        assert set(times_ms) == {1, 2}
        assert min(times_ms.values()) > 0
    assert torch.get_num_threads() == before


def test_the_number_of_threads_is_that_of_the_profile(tmp_path: Path) -> None:
    before, device = torch.get_num_threads(), torch.device("cpu")
    shared = replace(TARGET, num_cpus=4)
    write_profile(profile(target=shared, threads=before + 3), tmp_path)
    try:
        for target, expected in (
            (TARGET, before),  # each CPU is a core
            (replace(shared, threads=before), before),  # a person has said it
            (shared, before + 3),
        ):
            prepare_threads(target, device, torch.float32, tmp_path)
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)
