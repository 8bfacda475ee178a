"""Tables of each framework's layers, for its live models and its files alike; no framework is imported.

Each framework has a package, whose modules have the same names as far as they are needed: `roles` has the role and the axes of
every parameter, `kinds` the kind and the settings of every class, `shapes` the output shapes of layers. The modules
`roles` and `kinds` here hold the parts that several frameworks share.
"""
