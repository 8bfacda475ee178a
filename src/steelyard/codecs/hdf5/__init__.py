"""HDF5: reading in Python alone, and writing through h5py."""
