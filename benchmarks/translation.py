"""What searches are worth: BLEU of the validation split by beam and length penalty, and the test split of a run.

    python benchmarks/translation.py runs/transformer/multi30k/latest             # print
    python benchmarks/translation.py runs/transformer/multi30k/latest --write     # and write into the handbook

Run `zoo test RUN` before: the sentences and the score of the test split are those that it has kept.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tables import machine, put, table

from callbacks.reporting.translations import bleu
from datamodules.translation import TranslationDataModule
from zoo.cli.plumbing import import_all_pieces
from zoo.encoder_decoder import EncoderDecoder
from zoo.from_run import data_from_run, model_from_run

SEARCHES = ((1, 0.0), (2, 0.6), (5, 0.0), (5, 0.6), (5, 1.0), (10, 0.6))  # beam, length penalty


def main() -> None:
    """Translate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--write", action="store_true", help="write into the handbook")
    arguments = parser.parse_args()
    import_all_pieces([])
    model, data = model_from_run(arguments.run), data_from_run(arguments.run)
    assert isinstance(model, EncoderDecoder)
    assert isinstance(data, TranslationDataModule)
    data.setup("test")
    references, rows = data.texts["val"].targets, []
    for beam, length_penalty in SEARCHES:
        start, said = time.perf_counter(), list[str]()
        for x, _, lengths, _ in data.val_dataloader():
            said += [data.vocabulary.decode(row) for row in model.translate(x, lengths, beam, length_penalty)]
        seconds = time.perf_counter() - start
        penalty = "" if beam == 1 else f", penalty {length_penalty}"
        rows.append((f"beam {beam}{penalty}", f"{bleu(said, references).score:.2f}", f"{len(said) / seconds:.0f}"))
        print(*rows[-1], flush=True)
    kept = json.loads((arguments.run / "translations_test.json").read_text())
    shown = [f"| {a} | {b} | {c} |" for a, b, c in kept["texts"]]
    text = "\n".join(
        [
            f"Validation split of {type(data).__name__}, {len(references):,} sentences; {machine(1)}.",
            "",
            table(("search", "BLEU", "sentences/s"), rows),
            "",
            f"Test split, beam {kept['beam']}, length penalty {kept['length_penalty']}: BLEU {kept['bleu']:.2f}"
            f" ({kept['signature']}); the sources as they are reach {kept['bleu_of_copying']:.2f}.",
            "",
            "| source | translation | reference |",
            "|---|---|---|",
            *shown,
        ]
    )
    print(text)
    if arguments.write:
        put("docs/handbook/translation.md", "translation", "python benchmarks/translation.py RUN --write", text)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
