"""The weights of scikit-learn's estimators and skorch's nets, as their files keep them."""
