"""JSON: values, keys and their nesting are changed; keys may be there twice."""

import json

from mutators import fields

TWICE = "\0twice"
OTHERS = (None, True, False, 0, -1, 1.5, 1e308, 1 << 63, 1 << 70, "", "x", [], {}, [[]], {"a": {}}, [0] * 65, float("nan"))


def recognises(data):
    """Whether this looks like JSON."""
    return data.lstrip()[:1] in (b"{", b"[")


def mutate(data, chance):
    """Return the text of a changed tree."""
    return as_bytes(changed(json.loads(data), chance))


def as_bytes(tree):
    """Return JSON in which keys may be there twice."""
    return json.dumps(tree).replace(r"\u0000twice", "").encode()


def changed(tree, chance):
    """Return a tree with one to three changes."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree, 0))
        if not places or chance.random() < 0.03:
            return _value(tree, chance)
        holder, key = chance.choice(places)
        if isinstance(holder, dict) and chance.random() < 0.3:
            _entry(holder, key, chance)
        elif isinstance(holder, list) and chance.random() < 0.3:
            fields.pieces(chance, holder)
        else:
            donor = chance.choice(places)
            holder[key] = donor[0][donor[1]] if chance.random() < 0.1 else _value(holder[key], chance)
    return json.loads(json.dumps(tree))  # a value that was put inside itself is an error here, which the caller expects


def _places(tree, depth):
    if depth > 50:
        return
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from _places(tree[key], depth + 1)


def _entry(holder, key, chance):
    """Leave out an entry, rename it, or have it twice."""
    what = chance.randrange(3)
    if what == 0:
        del holder[key]
    elif what == 1:
        holder[fields.text(chance, key)] = holder.pop(key)
    else:
        holder[key + TWICE] = holder[key] if chance.random() < 0.5 else _value(holder[key], chance)


def _value(old, chance):
    if chance.random() < 0.2:
        return chance.choice(OTHERS)
    if isinstance(old, (int, float)):
        return fields.signed(chance, old)
    if isinstance(old, str):
        return fields.text(chance, old)
    for _ in range(chance.choice((1, 1, 3, 70))):
        old = [old] if chance.random() < 0.5 else {"x": old}
    return old
