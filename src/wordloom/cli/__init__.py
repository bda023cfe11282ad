"""The verbs: each a few lines over ``api``. Plain errors and exit codes: 0 done, 2 your input, 130 interrupted.

Nothing heavy is imported at the top: ``wordloom --help`` answers without torch.
"""

from __future__ import annotations

import os
import signal
import sys

import typer

from wordloom.cli import answer, generate, hub, models, probe, search, words
from wordloom.errors import WordloomError

app = typer.Typer(
    help="From raw text to a served NLP model on your own machine, offline, with numbers you can trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (
    models.check,
    models.tokenizer,
    words.vectors,
    words.neighbors,
    words.analogy,
    words.similarity,
    words.odd_one_out,
    words.export,
    models.pretrain,
    models.finetune,
    models.evaluate,
    models.predict,
    search.index,
    search.search,
    answer.answer,
    hub.download,
    generate.generate,
    generate.fill,
    generate.prompt,
    probe.probe,
    words.choose,
    models.run,
    models.demo,
):
    app.command()(verb)
app.command("import")(models.import_folder)


def main() -> None:
    """Entry point: one sentence instead of a traceback for whatever a user can cause."""
    try:
        app()
    except WordloomError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        message = str(stop)
        print(f"\nstopped{': ' + message if message else ''}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `wordloom predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except MemoryError:
        print(
            "error: not enough memory. Lower train.length or the batch (of vectors: dimension, max_vocab or buckets); "
            "see docs/troubleshooting.md.",
            file=sys.stderr,
        )
        sys.exit(2)
    except OSError as error:
        print(
            f"error: {error.filename or ''}: {error.strerror or error}. Check the path and the disk.", file=sys.stderr
        )
        sys.exit(2)
