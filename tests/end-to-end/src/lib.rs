//! Nothing lives here: the tests of several programs together are in `tests/it`, one binary, which links once.
