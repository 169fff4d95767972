//! The pipes between the programs.

use std::io;

/// As much as an ordinary user may ask for (`/proc/sys/fs/pipe-max-size`).
const SIZE: usize = 1 << 20;

/// Makes stdin and stdout hold more, if they are pipes: in 64 KiB a program that hands on a batch of rows and the one
/// that takes them would mostly wait for each other.
pub(crate) fn widen() {
    // What is no pipe, or must not be larger, works as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(io::stdin(), SIZE);
    let _ = rustix::pipe::fcntl_setpipe_size(io::stdout(), SIZE);
}
