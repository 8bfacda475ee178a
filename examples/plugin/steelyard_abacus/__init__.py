"""The nets and the files of abacus, for Steelyard."""
