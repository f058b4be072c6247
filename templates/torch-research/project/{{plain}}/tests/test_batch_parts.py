"""What is added up over the parts of a batch does not depend on who computes them."""

import pytest
import torch

from framework.batch_parts import Sums, add, nodes
from machinery.share import Share


def divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]


@pytest.mark.parametrize("parts", range(2, 14))
def test_the_tree_is_that_of_the_parts(parts: int) -> None:
    numbers = torch.randn(parts, generator=torch.Generator().manual_seed(parts)) * 1e3
    found = set()
    for processes in divisors(parts):
        sums: list[Sums] = []
        for number in range(processes):
            own: list[Sums] = []
            for part in Share(number, processes, parts).own_parts:
                add(own, Sums(part, 1, [numbers[part].clone()]))
            known = nodes(Share(number, processes, parts).own_parts)
            assert [node[:2] for node in own] == [node[:2] for node in known]
            for node in own:
                add(sums, node)
        while len(sums) > 1:
            last = sums.pop()
            sums[-1].tensors[0].add_(last.tensors[0])
        found.add(sums[0].tensors[0].item())
    assert len(found) == 1
    assert found.pop() == pytest.approx(numbers.double().sum().item(), abs=1e-2)
