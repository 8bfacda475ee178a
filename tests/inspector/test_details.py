import numpy as np

from steelyard.inspector.details import rounded_numbers

POWERS = 10.0 ** np.arange(-320, 308)


def test_numbers_rounded_together_have_the_bits_of_their_texts_of_nine_digits_read_again():
    random = np.random.default_rng(0)
    digits = random.integers(0, 10**9, 500)
    listed = [
        *random.standard_normal(500).tolist(),
        *(10 ** random.uniform(-300, 300, 500)).tolist(),
        *(digits + 0.5).tolist(),  # halves, which a product could round either way
        *((digits * 10 + 5) / 10.0 ** random.integers(1, 20, 500)).tolist(),
        *POWERS.tolist(),
        *np.nextafter(POWERS, 0).tolist(),
        *np.nextafter(POWERS, np.inf).tolist(),
        *[0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324],
    ]
    expected = np.array([float(f"{number:.9g}") for number in listed])
    assert rounded_numbers(np.array(listed)).tobytes() == expected.tobytes()
