//! Where a test may cut off the work: before each change of the disk. In a program it is a place of [`crate::fault`].

use std::io;

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "it fails in tests only")]
pub(super) fn step() -> io::Result<()> {
    crate::fault::point("backup-change");
    Ok(())
}

#[cfg(test)]
thread_local! {
    static LEFT: std::cell::Cell<u64> = const { std::cell::Cell::new(u64::MAX) };
}

#[cfg(test)]
pub(super) fn step() -> io::Result<()> {
    LEFT.with(|left| {
        left.set(left.get().saturating_sub(1));
        if left.get() == 0 {
            return Err(io::Error::other("cut off by the test"));
        }
        Ok(())
    })
}

/// From here on this thread may make so many changes less one; all later ones fail, as if it had been killed.
#[cfg(test)]
pub(super) fn cut_after(steps: u64) {
    LEFT.with(|left| left.set(steps));
}

/// Changes that may still be made.
#[cfg(test)]
pub(super) fn left() -> u64 {
    LEFT.with(std::cell::Cell::get)
}
