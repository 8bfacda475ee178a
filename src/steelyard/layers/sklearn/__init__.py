"""scikit-learn: the attributes of its estimators."""
