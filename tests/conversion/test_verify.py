"""What a conversion computes to check itself."""

from __future__ import annotations

import numpy as np
import pytest
from attrs import evolve

import riboswitch
from riboswitch.conversion.convert import convert
from riboswitch.conversion.verify import SEQUENCES, Difference, _compute, _difference
from riboswitch.conversion.write import save
from riboswitch.weights import LazyWeights


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("most", [5, 60, 513])
def test_kmers_and_short_models_can_be_verified(entry, draw, k, most, tmp_path):
    import itertools

    made = entry("rnaernie", max_positions=most)
    special = [t for t in made.alphabet.tokens if t not in made.alphabet.words]
    words = ["".join(word) for word in itertools.product("ATCG", repeat=k)]
    alphabet = evolve(made.alphabet, tokens=(*special, *words), k=k)
    sizes = made.architecture.evolve({"vocab_size": len(alphabet)})
    made = evolve(made, alphabet=alphabet, architecture=sizes)
    save(made, draw(made, "float32"), tmp_path / "own", "riboswitch")
    report = convert(tmp_path / "own", tmp_path / "new", "rnaernie", verify=True)
    assert report.difference == Difference(representation=0.0, logits=0.0)
    assert riboswitch.load("rnaernie", weights=tmp_path / "new", backend="numpy").alphabet.k == k


def test_a_difference_is_the_largest_one(entry, draw):
    made = entry("rnafm")
    first = _compute(made, draw(made, "float32"))
    changed = dict(draw(made, "float32"))
    changed["lm_head.decoder.bias"] = changed["lm_head.decoder.bias"] + np.float32(0.25)
    found = _difference(first, _compute(made, LazyWeights(changed, changed.__getitem__)))
    assert found.representation == 0
    assert found.logits == pytest.approx(0.25, abs=1e-5)
    assert len(SEQUENCES) == 3
