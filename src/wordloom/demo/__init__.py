"""The demo's corpus: English documentation that is already on the machine, and a task made from it.

Docstrings of the standard library and of installed packages are read from source with ``ast`` (nothing is
imported), cleaned, and stripped of names. The task "which package does this documentation belong to?" is
about language only when the text no longer says the answer, so everything that looks like an identifier, an
import path, an address, a package or a distribution becomes the word ``name``. Pre-training reads the same
masked text: the vocabulary then fits the task, and no row of it is spent on names the task never shows.

Splits are by module (source file): a module that gives a test example gives nothing to training or
pre-training. Copies are removed before splitting, over everything: a text whose set of 5-word shingles is
covered to 50 % or more by longer texts goes. Containment is stricter than the Jaccard similarity of MinHash
(containment >= Jaccard) and also finds a short text quoted inside a long one.

Everything is a function of the seed and of the installed files: paths are sorted, no hash seed is used.
"""

from wordloom.demo.documentation import Doc, Documentation, collect_documentation
from wordloom.demo.task import DemoFiles, write_demo

__all__ = ["DemoFiles", "Doc", "Documentation", "collect_documentation", "write_demo"]
