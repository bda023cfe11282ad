"""``wordloom.sklearn.TextClassifier``: the scikit-learn estimator under its short name."""

from wordloom.integrations.sklearn import TextClassifier

__all__ = ["TextClassifier"]
