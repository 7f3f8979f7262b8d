"""How much a model's embeddings know: classes of ncRNA by logistic regression.

    pip install "scikit-learn>=1.8"
    python docs/benchmarks/probe.py TRAIN.fa TEST.fa --model ribotiny

The class is the last word of each header, as in the sets of Fiannaca et al. 2017. The embeddings
are pooled as asked, standardised by the training set, and classified by scikit-learn's logistic
regression; its C is the best of five in a 5-fold cross-validation inside the training set.
`--kmers K` takes the frequencies of all K-mers in the place of a model, and `--weights initial`
those that its training begins with.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

import riboswitch
from riboswitch.registry import registry
from riboswitch.sequences import read_records
from riboswitch.training.checkpoint import save_model
from riboswitch.training.initial import initial_weights


def main() -> None:
    """Print accuracies as JSON."""
    arguments = _arguments()
    train, test = (list(read_records(path)) for path in (arguments.train, arguments.test))
    known = {_rna(record.sequence) for record in train}
    fresh = np.array([_rna(record.sequence) not in known for record in test])
    x, y = _features(arguments, train), _classes(train)
    classifier = _fitted(x, y)
    right = classifier.predict(_features(arguments, test)) == _classes(test)
    found = {
        "features": f"{arguments.kmers}-mers" if arguments.kmers else arguments.weights,
        "size": x.shape[1],
        "accuracy": round(float(right.mean()), 4),
        "accuracy_without_duplicates": round(float(right[fresh].mean()), 4),
        "sequences": len(test),
        "duplicates": int((~fresh).sum()),
        "C": float(np.atleast_1d(classifier[-1].C_)[0]),
    }
    print(json.dumps(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--model", default="ribotiny")
    parser.add_argument("--weights", default="released")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--pool", default="mean")
    parser.add_argument("--kmers", type=int, help="take k-mer frequencies instead")
    return parser.parse_args()


def _features(arguments: argparse.Namespace, records: list) -> np.ndarray:
    texts = [_rna(record.sequence) for record in records]
    if arguments.kmers:
        return np.array([_frequencies(text, arguments.kmers) for text in texts])
    model = _model(arguments)
    return model.embed(texts, pool=arguments.pool, window=1022)


def _model(arguments: argparse.Namespace) -> riboswitch.Model:
    if arguments.weights != "initial":
        return riboswitch.load(
            arguments.model, weights=arguments.weights, backend=arguments.backend
        )
    entry = registry().model(arguments.model)
    weights = initial_weights(entry.architecture, 1, entry.pretraining.initial)
    with tempfile.TemporaryDirectory() as folder:
        save_model(entry, weights, Path(folder) / "model")
        return riboswitch.load(entry.name, weights=f"{folder}/model", backend=arguments.backend)


def _frequencies(text: str, k: int) -> list[float]:
    counts = Counter(text[i : i + k] for i in range(len(text) - k + 1))
    total = max(len(text) - k + 1, 1)
    return [counts["".join(word)] / total for word in itertools.product("ACGU", repeat=k)]


def _fitted(x: np.ndarray, y: np.ndarray):
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegressionCV(
        Cs=[0.001, 0.01, 0.1, 1, 10],
        cv=5,
        max_iter=2000,
        l1_ratios=(0,),
        use_legacy_attributes=False,
    )
    return make_pipeline(StandardScaler(), regression).fit(x, y)


def _classes(records: list) -> np.ndarray:
    return np.array([record.header.split()[-1] for record in records])


def _rna(sequence: str) -> str:
    return sequence.upper().replace("T", "U")


if __name__ == "__main__":
    main()
